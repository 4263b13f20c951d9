"""Functions that application code may call to mark points and background work; elsewhere than in calls they do nothing.

Application code imports this, so it imports nothing.
"""

from __future__ import annotations

UNFOLLOWED = "enqueued and not followed: "  # how notes begin about work that nobody explores

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Work = Callable[..., Any] | str

number = 0  # of the step that this process has taken last in an order that is explored, counted from 1
_pass_step: Callable[[str], None] | None = None
_take_over: Callable[[Work, tuple[Any, ...], Mapping[str, Any]], bool] | None = None


def step(name: str) -> None:
    """Mark a point where an exploration may switch to another call; outside of explorations do nothing.

    Database round trips and operations of Django's caches are such points by
    themselves.  Mark others where calls share data in another way: files, services,
    shared memory.

    Args:
        name: The name of the point in the lanes; it has to be the same in every run.

    Raises:
        TypeError: `name` is not a string.
    """
    if not isinstance(name, str):
        raise TypeError(f"step() takes the name of a point in the code, a string, not {name!r}.")
    if _pass_step is not None:
        _pass_step(name)


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
    return _take_over is not None and _take_over(function, args, kwargs)


def watch_steps(pass_step: Callable[[str], None]) -> None:
    """Let `pass_step` be called with the name of each point that this process comes to."""
    global _pass_step
    _pass_step = pass_step


def watch_work(take_over: Callable[[Work, tuple[Any, ...], Mapping[str, Any]], bool]) -> None:
    """Let `take_over` be called with the work that this process leaves to others."""
    global _take_over
    _take_over = take_over
