"""The start method "inline": no processes, for debugging."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from ..base import own_clock as time
from ..base.calls import cannot_be_made, misfit_met
from ..base.pickling import dump_error
from ..engine.wrapper import finish, import_target
from ..exceptions import WrappedError
from ..results import unread
from ..results.outcomes import CallReport, Outcomes
from .project import uses_django
from .question import raise_mistakes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from contextlib import AbstractContextManager

    from ..base.calls import Call, Target
    from .options import Options


def run_inline(calls: Sequence[Call], options: Options, backend: str = "asyncio") -> Outcomes[Any]:
    """Run the calls one after another in this very thread, where a debugger and coverage see them.

    They use the connections of this thread, and have no time limit.

    Args:
        backend: The event loop that coroutine functions run on.
    """
    outcomes = Outcomes()
    mistakes: list[list[bytes]] = [[] for _ in calls]
    with _guarded(options, lambda mistake: mistakes[len(outcomes)].append(mistake)):
        if options.prepare is not None:
            _resolve(options.prepare)()
        for call in calls:
            started = time.monotonic()
            outcomes.append(_perform(call, backend, mistakes[len(outcomes)].append))
            outcomes.reports.append(CallReport(str(call), os.getpid(), started, time.monotonic(), None, ""))
    unread.note(outcomes)
    raise_mistakes(calls, outcomes, mistakes, _bans())
    return outcomes


def _guarded(options: Options, blame: Callable[[bytes], None]) -> AbstractContextManager[None]:
    if options.allow_real_databases or not uses_django():
        return nullcontext()
    from ..databases.guard import guarding_cursors

    return guarding_cursors(blame)


def _bans() -> Collection[BaseException]:
    """The errors with which the test may not connect to a database."""
    if not uses_django():
        return ()
    from ..databases.handoff import look

    return look().forbidden.values()


def _perform(call: Call, backend: str, blame: Callable[[bytes], None]) -> Any:
    function: Any = call.function
    try:
        function = _resolve(call.function)
        return finish(function(*call.args, **call.kwargs), backend)
    except (Exception, SystemExit) as error:
        reason = misfit_met(error, function, call.args, call.kwargs) if isinstance(error, TypeError) else ""
        if reason:
            blame(dump_error(cannot_be_made(str(call), reason)))
        return WrappedError(error, str(call))


def _resolve(target: Target) -> Any:
    return import_target(target) if isinstance(target, str) else target
