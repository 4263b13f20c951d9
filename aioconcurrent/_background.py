"""Work that application code leaves to other processes, such as the workers of a queue.

Application code imports this, so it imports nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Work = Callable[..., Any] | str

_watch: Callable[[Work, tuple[Any, ...], Mapping[str, Any]], bool] | None = None


def background(function: Work, /, *args: Any, **kwargs: Any) -> bool:
    """Leave work to a call of its own, in an exploration; does nothing anywhere else.

    That call begins at any time from here on, as a task in a queue does.  Celery and Django's
    own tasks need no such line.  For other queues it stands where they send a message.

    Args:
        function: What is called, in another process: one that can be imported by its name, or
            "package.module:function".
        *args: Passed on to `function`; must be picklable.
        **kwargs: Passed on to `function`; must be picklable.

    Returns:
        Whether the work was taken over; if not, it is to be enqueued as always.
    """
    return _watch is not None and _watch(function, args, kwargs)


def watch(take: Callable[[Work, tuple[Any, ...], Mapping[str, Any]], bool]) -> None:
    """Let `take` be called with the work that this process leaves to others."""
    global _watch
    _watch = take
