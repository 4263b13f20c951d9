"""The blocking API: the same names as in `aioconcurrent`, for tests without an event loop."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from . import _calls, _question
from ._loops import current_backend, outside_loop
from ._options import current_options, options, override_environment
from ._outcomes import CallReport, Outcomes
from ._project import uses_django
from ._recorded import RecordedStep
from ._step import step
from .exceptions import (
    AioconcurrentError,
    NotATestDatabaseError,
    ProcessDiedError,
    RemoteError,
    TemplateWarning,
    TerminatedProcessError,
    TokenError,
    UncommittedDataError,
    UnpicklableError,
    WrappedError,
)
from .exploring.exploration import Counterexample, Exploration, InconclusiveError, RaceFound

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from ._calls import Call, Target
    from ._question import Ignored, Question, Refusals


__all__ = [
    "AioconcurrentError",
    "CallReport",
    "Counterexample",
    "Exploration",
    "InconclusiveError",
    "NotATestDatabaseError",
    "Outcomes",
    "ProcessDiedError",
    "RaceFound",
    "RecordedStep",
    "RemoteError",
    "TemplateWarning",
    "TerminatedProcessError",
    "TokenError",
    "UncommittedDataError",
    "UnpicklableError",
    "WrappedError",
    "call_concurrently",
    "explore",
    "make_concurrent_calls",
    "options",
    "override_environment",
    "replay",
    "step",
]


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


def explore(
    *calls: object,
    check: Callable[[Outcomes[Any]], Any] | None = None,
    refusals: Refusals = (),
    ignore: Ignored = (),
    max_schedules: int | None = None,
    max_seconds: float | None = None,
    preemptions: int | None = None,
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
    )
    return _explore(asked)


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
    import anyio

    from ._explore import run_exploration
    from .databases.handoff import look

    return anyio.run(run_exploration, asked, [look()] if uses_django() else [], _in_caller)


async def _in_caller(function: Callable[..., T], *args: Any) -> T:
    """Run what the caller could have run itself: on its own connections, as if there were no event loop."""
    with outside_loop():
        return function(*args)


def _make(calls: Sequence[Call], name: str) -> Outcomes[Any]:
    _refuse_loop(name)
    options = current_options()
    if options.start_method == "inline":
        from ._inline import run_inline

        return run_inline(calls, options)
    import anyio

    from ._race import run_race
    from .databases.handoff import look

    return anyio.run(run_race, calls, options, [look()] if uses_django() else [])


def _refuse_loop(name: str) -> None:
    backend = current_backend()
    if backend is not None:
        raise RuntimeError(
            f"aioconcurrent.sync.{name}() would block the {backend} event loop that is running in this thread. "
            f"Use `from aioconcurrent import {name}` and `await {name}(...)`."
        )
