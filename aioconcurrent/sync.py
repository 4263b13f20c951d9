"""The blocking API: the same names as in `aioconcurrent`, for tests without an event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from . import _calls
from ._loops import current_backend
from ._options import current_options, options, override_environment
from ._outcomes import CallReport, Outcomes
from ._project import uses_django
from .exceptions import (
    AioconcurrentError,
    NotATestDatabaseError,
    ProcessDiedError,
    RemoteError,
    TemplateWarning,
    TerminatedProcessError,
    UncommittedDataError,
    UnpicklableError,
    WrappedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from ._calls import Call, Target

__all__ = [
    "AioconcurrentError",
    "CallReport",
    "NotATestDatabaseError",
    "Outcomes",
    "ProcessDiedError",
    "RemoteError",
    "TemplateWarning",
    "TerminatedProcessError",
    "UncommittedDataError",
    "UnpicklableError",
    "WrappedError",
    "call_concurrently",
    "make_concurrent_calls",
    "options",
    "override_environment",
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


def _make(calls: Sequence[Call], name: str) -> Outcomes[Any]:
    backend = current_backend()
    if backend is not None:
        raise RuntimeError(
            f"aioconcurrent.sync.{name}() would block the {backend} event loop that is running in this thread. "
            f"Use `from aioconcurrent import {name}` and `await {name}(...)`."
        )
    options = current_options()
    if options.start_method == "inline":
        from ._inline import run_inline

        return run_inline(calls, options)
    import anyio

    from ._race import run_race
    from .databases.handoff import look

    return anyio.run(run_race, calls, options, [look()] if uses_django() else [])
