"""Points in the application where exploration may switch.

Application code imports this, so it imports nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

number = 0  # of the step that this process has taken last in an order that is explored, counted from 1
_watch: Callable[[str], None] | None = None


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
    if _watch is not None:
        _watch(name)


def watch(hear: Callable[[str], None]) -> None:
    """Let `hear` be called with the name of each point that this process comes to."""
    global _watch
    _watch = hear
