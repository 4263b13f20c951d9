"""Whether the calls of an exploration are made again and again in the same processes.

That is asked for, and then tried: one serial order is run in fresh processes and once more in the same ones.  If all
its steps, what came of them, and its ending are alike, the calls keep nothing in their processes that matters.  What
departs from that later sends the exploration back to fresh processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...engine.wrapper import RAISED
from .controller import OVERTIME

if TYPE_CHECKING:
    from .maker import Made

_PATIENCE = 3  # runs that may leave something behind


class DepartedError(Exception):
    """The calls do other things in processes that are used again; the argument says what."""


class Reuse:
    """What has been found out.

    Args:
        is_wanted: Whether it is to be tried.
        problem: Why it cannot be, empty if it can.

    Attributes:
        is_open: It is still to be tried.
        is_on: It was tried, and is so.
        note: Which way the exploration went, and why; for people.
    """

    def __init__(self, *, is_wanted: bool, problem: str) -> None:
        self.is_open = is_wanted and not problem
        self.is_on = False
        self.note = f"each run had fresh processes: {problem}" if is_wanted and problem else ""
        self._left = 0

    def decide(self, first: Made, again: Made) -> None:
        """Conclude from two runs of one order, the second in the processes of the first."""
        if problem := _difference(first, again):
            self.stop(problem)
            return
        self.is_open, self.is_on = False, True
        self.note = "runs were made in the same processes again and again, as long as nothing was left in them"

    def stop(self, why: str) -> None:
        """Take note of why it is not so, or no longer."""
        self.is_open = self.is_on = False
        self.note = f"each run had fresh processes: {why}"

    @property
    def keeps(self) -> bool:
        """Whether processes are to stay from one run to the next."""
        return self.is_open or self.is_on

    def take_in(self, made: Made) -> None:
        """Learn from a run.

        Raises:
            DepartedError: It shows what cannot be relied on.
        """
        if not self.is_on:
            return
        problems = [problem for problem in made.problems if not problem.startswith(OVERTIME)]
        if made.attempt.is_reused and problems and not made.strange:
            raise DepartedError(problems[0])
        left = [leftover for leftover in made.attempt.leftovers if leftover != RAISED]
        self._left += bool(left)
        if self._left >= _PATIENCE:
            self.is_on = False
            self.note = f"from some run on each had fresh processes: in {self._left} runs {left[-1]}"


def is_borne_out(made: Made, fresh: Made) -> bool:
    """Whether fresh processes have come to the same, unless they came to nothing for reasons of their own."""
    return bool(fresh.problems) or _shown(made) == _shown(fresh)


def _difference(first: Made, again: Made) -> str:
    """Why these runs do not come to the same; empty if they do."""
    for made in (first, again):
        if problem := next(iter((*made.problems, *made.attempt.leftovers)), ""):
            return problem
    if not again.attempt.is_reused or first.seen is None or _shown(first) != _shown(again):
        return "the calls do other things when they are made again in the same ones"
    return ""


def _shown(made: Made) -> object:
    if made.seen is None:
        return None
    run = made.seen.run
    steps = [(step.call, step.operation, step.rowcount, step.error, step.columns, step.rows) for step in run.steps]
    return steps, dict(run.tables), list(map(repr, run.outcomes))
