"""The last race or exploration of a test, for a runner of tests that shows it when the test fails.

Results are noted here as they come, and kept only while somebody watches.
"""

from __future__ import annotations

import copy
from typing import TypeVar

T = TypeVar("T")

_watched: list[object] | None = None


def note(result: T) -> T:
    """Take note of what a race or an exploration has come to, and return it."""
    if _watched is not None:
        _watched[:] = [copy.copy(result)]  # the result itself may have to be gone for somebody
    return result


def watch() -> None:
    """Keep what is noted from now on, each in place of the one before."""
    global _watched
    _watched = []


def seen() -> object | None:
    """Return what was noted last while somebody watched; None if nothing was."""
    return _watched[0] if _watched else None


def forget() -> None:
    """Keep nothing any more."""
    global _watched
    _watched = None
