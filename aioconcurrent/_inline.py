"""The start method "inline": no processes, for debugging."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from . import _latest
from ._outcomes import CallReport, Outcomes
from .engine.wrapper import finish, import_target
from .exceptions import WrappedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._calls import Call, Target
    from ._options import Options


def run_inline(calls: Sequence[Call], options: Options, backend: str = "asyncio") -> Outcomes[Any]:
    """Run the calls one after another in this very thread, where a debugger and coverage see them.

    They use the connections of this thread, and have no time limit.

    Args:
        backend: The event loop that coroutine functions run on.
    """
    if options.prepare is not None:
        _resolve(options.prepare)()
    outcomes = Outcomes()
    for call in calls:
        started = time.monotonic()
        outcomes.append(_perform(call, backend))
        outcomes.reports.append(CallReport(str(call), os.getpid(), started, time.monotonic(), None, ""))
    return _latest.note(outcomes)


def _perform(call: Call, backend: str) -> Any:
    try:
        return finish(_resolve(call.function)(*call.args, **call.kwargs), backend)
    except (Exception, SystemExit) as error:
        return WrappedError(error, str(call))


def _resolve(target: Target) -> Any:
    return import_target(target) if isinstance(target, str) else target
