"""What a test runner knows of races and explorations: the last one, and whether each result was looked at.

The last one is kept while a test runner asks for it, and shown when the test fails.  A test that
has not looked at the results of its calls proves nothing.  It is warned when a result is
garbage-collected, or when the test runner says that the test is over.
"""

from __future__ import annotations

import copy
import gc
import sys
import warnings
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType


# Of frames between a statement of a test and its calls.
_BETWEEN = ("aioconcurrent", "anyio", "asgiref", "asyncio", "contextlib", "outcome", "threading", "trio")


class Unread:
    """What nobody has looked at yet in one result.  It does not keep the result alive.

    Args:
        parts: Indexes of what has to be looked at.
        tell: Makes the text of a warning from those that are left.
    """

    def __init__(self, parts: Iterable[int] = (), tell: Callable[[set[int]], str] = repr) -> None:
        self._parts = set(parts)
        self._tell = tell
        self._place = ("", 0)

    def look(self, parts: Iterable[int] | None = None) -> None:
        """Take note that somebody has looked at these, or at everything."""
        self._parts.difference_update(self._parts.copy() if parts is None else parts)

    def stand_at(self, frame: FrameType | None) -> None:
        """Name the innermost statement of a test in the warning."""
        while frame is not None and frame.f_back is not None and is_between(frame):
            frame = frame.f_back
        if frame is not None:
            self._place = frame.f_code.co_filename, frame.f_lineno

    @property
    def text(self) -> str:
        """What to say; empty if all has been looked at."""
        return self._tell(self._parts) if self._parts else ""

    def warn(self) -> None:
        """Warn, if there is anything to say."""
        if text := self.text:
            from ..exceptions import UnreadResultWarning

            self._parts.clear()
            warnings.warn_explicit(text, UnreadResultWarning, *self._place)


class Result(Protocol):
    """The result of a race or an exploration."""

    def _watch(self) -> Unread:
        """From here on take note of what is looked at."""


T = TypeVar("T")
R = TypeVar("R", bound=Result)


@dataclass(eq=False)
class _Entry:
    unread: Unread
    result: weakref.ref[Any]
    owner: object | None

    @property
    def is_gone(self) -> bool:
        return self.result() is None


class Watch:
    """The results that one test runner watches.

    Attributes:
        owner: Whose the next ones are; None for the test's own.
    """

    def __init__(self) -> None:
        self.owner: object | None = None
        self._entries: list[_Entry] = []

    def add(self, result: object, unread: Unread) -> None:
        """Watch this result."""
        self._entries.append(_Entry(unread, weakref.ref(result), self.owner))

    def give_back(self, owner: object) -> None:
        """The results of this owner are the test's from now on."""
        for each in self._entries:
            each.owner = None if each.owner is owner else each.owner

    def take(self, *, only_gone: bool = False) -> list[Unread]:
        """Forget the results of the test, or those of them that are gone, and return what of them nobody has read."""
        own = [each for each in self._entries if each.owner is None]
        if only_gone and any(each.unread.text and not each.is_gone for each in own):
            gc.collect()  # for what only a circle of references keeps, as of an exception that was caught
        taken = [each for each in own if each.is_gone or not only_gone]
        self._entries = [each for each in self._entries if each not in taken]
        return [each.unread for each in taken if each.unread.text]


_watch: Watch | None = None


def let_watch(watch: Watch | None) -> None:
    """Let a test runner watch all results from now on; None ends that."""
    global _watch
    _watch = watch


def hand_over(result: R) -> R:
    """Give a result to the caller of this library, who has to look at it."""
    unread = result._watch()
    if not unread.text:
        return result
    unread.stand_at(sys._getframe(1))
    if _watch is not None:
        _watch.add(result, unread)
    else:
        weakref.finalize(result, unread.warn)
    return result


_kept: list[object] | None = None


def note(result: T, asked: object = None) -> T:
    """Take note of what a race or an exploration has come to, and of what was asked, and return it."""
    if _kept is not None:
        _kept[:] = [copy.copy(result), asked]  # the result itself may have to be gone for somebody
    return result


def keep_last() -> None:
    """Keep what is noted from now on, each in place of the one before."""
    global _kept
    _kept = []


def last() -> object | None:
    """Return what was noted last; None if nothing was, or nobody watches."""
    return _kept[0] if _kept else None


def last_asked() -> object | None:
    """Return what was asked, if an exploration was noted last."""
    return _kept[1] if _kept else None


def is_kept() -> bool:
    """Whether somebody keeps what is noted, and shows it when the test fails."""
    return _kept is not None


def forget() -> None:
    """Keep nothing any more."""
    global _kept
    _kept = None


def is_between(frame: FrameType) -> bool:
    """Whether a frame stands between a test and its calls: it is of this package, or of what it runs in."""
    return str(frame.f_globals.get("__name__")).partition(".")[0] in _BETWEEN
