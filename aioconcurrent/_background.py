"""Work that application code leaves to other processes, such as the workers of a queue.

Application code imports this, so it imports nothing.
"""

from __future__ import annotations

UNFOLLOWED = "enqueued and not followed: "  # how sentences begin that tell of work that nobody explores

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Work = Callable[..., Any] | str

_watch: Callable[[Work, tuple[Any, ...], Mapping[str, Any]], bool] | None = None


def background(function: Work, /, *args: Any, **kwargs: Any) -> bool:
    """Explore work that is enqueued here as a call of its own; outside of explorations do nothing.

    That call may begin at any moment from here on, like a task in a queue.  Celery and Django's
    own tasks do not need this.  For other queues, call it where they send a message.

    Args:
        function: What is called, in another process: one that can be imported by its name, or
            "package.module:function".
        *args: Passed on to `function`; must be picklable.
        **kwargs: Passed on to `function`; must be picklable.

    Returns:
        Whether the work was taken over.  If not, enqueue it as usual.
    """
    return _watch is not None and _watch(function, args, kwargs)


def watch(take: Callable[[Work, tuple[Any, ...], Mapping[str, Any]], bool]) -> None:
    """Let `take` be called with the work that this process leaves to others."""
    global _watch
    _watch = take
