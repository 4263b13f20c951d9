"""The blocking API: the same names as in `aioconcurrent`, for tests without an event loop."""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from . import __all__ as __all__  # type: ignore[attr-defined]
from . import _api
from ._api import run_exploration, run_locks, run_race
from ._text import naming_unknown
from .base import calls as _calls
from .base.loops import current_backend
from .base.points import background as background
from .base.points import step as step
from .base.trace import RecordedStep as RecordedStep
from .exceptions import *  # noqa: F403 - its public names are those of the package
from .results.exploration import Counterexample as Counterexample
from .results.exploration import Exploration as Exploration
from .results.exploration import InconclusiveError as InconclusiveError
from .results.exploration import Lock as Lock
from .results.exploration import Locks as Locks
from .results.exploration import RaceFound as RaceFound
from .results.exploration import Remedy as Remedy
from .results.outcomes import CallReport as CallReport
from .results.outcomes import Outcomes as Outcomes
from .results.unread import hand_over
from .running import question as _question
from .running.options import current_options
from .running.options import options as options
from .running.options import override_environment as override_environment
from .running.project import uses_django

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from .base.calls import Call, Target
    from .databases.handoff import View
    from .running.question import Ignored, Question, Refusals

__tracebackhide__ = True  # pytest shows the test, not this
P = ParamSpec("P")
T = TypeVar("T")


@overload
def call_concurrently(concurrency: int, function: str, /, *args: Any, **kwargs: Any) -> Outcomes[Any]: ...
@overload
def call_concurrently(
    concurrency: int, function: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
) -> Outcomes[T]: ...
@overload
def call_concurrently(
    concurrency: int, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
) -> Outcomes[T]: ...
def call_concurrently(concurrency: int, function: Target, /, *args: Any, **kwargs: Any) -> Outcomes[Any]:
    """Block while `aioconcurrent.call_concurrently` runs; arguments, result and errors are the same.

    Raises:
        RuntimeError: An event loop is running in this thread.
    """
    return _make(_calls.repeated(concurrency, function, args, kwargs), "call_concurrently")


def make_concurrent_calls(*calls: object) -> Outcomes[Any]:
    """Block while `aioconcurrent.make_concurrent_calls` runs; arguments, result and errors are the same.

    Raises:
        RuntimeError: An event loop is running in this thread.
    """
    return _make(_calls.parsed(calls), "make_concurrent_calls")


@naming_unknown(_question.ADVICE)
def explore(
    *calls: object,
    check: Callable[[Outcomes[Any]], Any] | None = None,
    refusals: Refusals = (),
    ignore: Ignored = (),
    max_schedules: int | None = None,
    max_seconds: float | None = None,
    preemptions: int | None = None,
    strategy: str | None = None,
    remedies: bool = False,
) -> Exploration:
    """Block while `aioconcurrent.explore` runs; arguments, result and errors are the same.

    Raises:
        RuntimeError: An event loop is running in this thread.
    """
    _refuse_loop("explore")
    asked = _question.question(
        calls,
        check=check,
        refusals=refusals,
        ignore=ignore,
        max_schedules=max_schedules,
        max_seconds=max_seconds,
        preemptions=preemptions,
        strategy=strategy,
        remedies=remedies,
    )
    return _explore(asked)


@naming_unknown(_question.ADVICE)
def replay(
    token: str,
    /,
    *calls: object,
    check: Callable[[Outcomes[Any]], Any] | None = None,
    refusals: Refusals = (),
    ignore: Ignored = (),
) -> Exploration:
    """Block while `aioconcurrent.replay` runs; arguments, result and errors are the same.

    Raises:
        RuntimeError: An event loop is running in this thread.
    """
    _refuse_loop("replay")
    return _explore(_question.question(calls, check=check, refusals=refusals, ignore=ignore, token=token))


def _explore(asked: Question) -> Exploration:
    if inspect.iscoroutinefunction(asked.check):
        raise TypeError("check must be a plain function here; `await aioconcurrent.explore(...)` takes coroutines.")
    from .running.own_loop import run_blocking

    found = run_blocking(run_exploration, asked, _look())
    return hand_over(found if asked.schedule else found.asked_by(partial(_locks, asked)))


def _locks(asked: Question) -> Locks:
    _refuse_loop("explore")
    from .running.own_loop import run_blocking

    return run_blocking(run_locks, asked, _look())


def _look() -> list[View]:
    from .databases.handoff import look

    return [look()] if uses_django() else []


def _make(calls: Sequence[Call], name: str) -> Outcomes[Any]:
    _refuse_loop(name)
    options = current_options()
    if options.start_method == "inline":
        from .running.inline import run_inline

        return hand_over(run_inline(calls, options))
    from .running.own_loop import run_blocking

    return hand_over(run_blocking(run_race, calls, options, _look()))


def _refuse_loop(name: str) -> None:
    backend = current_backend()
    if backend is not None:
        raise RuntimeError(
            f"aioconcurrent.sync.{name}() would block the {backend} event loop that is running in this thread. "
            f"Use `from aioconcurrent import {name}` and `await {name}(...)`."
        )


for _blocking, _awaited in (  # these tell of the arguments, which help() of the blocking ones shows, too
    (call_concurrently, _api.call_concurrently),
    (make_concurrent_calls, _api.make_concurrent_calls),
    (explore, _api.explore),
    (replay, _api.replay),
):
    _blocking.__doc__ = f"{inspect.getdoc(_awaited)}\n    RuntimeError: An event loop is running in this thread."
