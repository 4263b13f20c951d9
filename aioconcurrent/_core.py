"""What the core runs, imported where it runs.

An import that Ctrl-C breaks off leaves its package half imported for as long as the
process lives.  Only the main thread is interrupted, and the core is in another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._calls import Call
    from ._exploration import Exploration
    from ._options import Options
    from ._outcomes import Outcomes
    from ._question import Question
    from ._race import InCaller
    from .databases.handoff import View


async def run_exploration(question: Question, views: Sequence[View], in_caller: InCaller) -> Exploration:
    """As `_explore.run_exploration`."""
    from . import _explore

    return await _explore.run_exploration(question, views, in_caller)


async def run_race(calls: Sequence[Call], options: Options, views: Sequence[View], in_caller: InCaller) -> Outcomes:
    """As `_race.run_race`."""
    from . import _race

    return await _race.run_race(calls, options, views, in_caller)
