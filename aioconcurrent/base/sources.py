"""The line of the application from which an operation was asked for."""

from __future__ import annotations

import linecache
import os
import sys
import sysconfig
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from types import CodeType, FrameType

Owner = Literal["application", "library", "machinery"]

_HERE = os.path.join(Path(__file__).parents[1], "")  # the whole package
_DEMO = os.path.join(_HERE, "demo", "")
_STANDARD = tuple({os.path.join(sysconfig.get_path(name), "") for name in ("stdlib", "platstdlib")})
_PACKAGES = tuple({os.path.join(sysconfig.get_path(name), "") for name in ("purelib", "platlib")})
_MACHINERY = ("django", "asgiref")
_LINES_OF_AN_ERROR = 3
_FILES = 4096  # whose owner is remembered

_awaited_at: ContextVar[str | None] = ContextVar("aioconcurrent: where the coroutine waits", default=None)


def application_line() -> str | None:
    """Return "folder/file.py:12 in function: code" of the innermost frame that is the application's.

    Where none is, because a library was called directly, its innermost frame will do.
    """
    library: FrameType | None = None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        owner = owner_of_file(frame.f_code.co_filename)
        if owner == "application":
            return _tell(frame)
        if owner == "library" and library is None:
            library = frame
        frame = frame.f_back
    return _awaited_at.get() or (_tell(library) if library is not None else None)


def lines_of(error: BaseException) -> list[str]:
    """Return where in the application an error came about, in the same manner, the innermost line last.

    What Django and other libraries have between those lines is left out.
    """
    frames = [
        (frame, line)
        for frame, line in walk_tb(error.__traceback__)
        if owner_of_file(frame.f_code.co_filename) == "application"
    ]
    return [_tell(frame, line) for frame, line in frames[-_LINES_OF_AN_ERROR:]]


def follow_coroutines() -> None:
    """Let threads in which asgiref works for a coroutine know the line that awaits them."""
    from asgiref.sync import SyncToAsync

    call: Any = SyncToAsync.__call__

    async def following_call(self: Any, *args: Any, **kwargs: Any) -> Any:
        _awaited_at.set(application_line())  # the thread runs in a copy of this context
        return await call(self, *args, **kwargs)

    SyncToAsync.__call__ = following_call  # type: ignore[method-assign]


@lru_cache(_FILES)
def owner_of_file(file: str) -> Owner:
    """Whose code is in a file; Python's, Django's and our own are machinery."""
    if file.startswith(_DEMO):
        return "application"
    if file.startswith((_HERE, "<")):
        return "machinery"
    for folder in _PACKAGES:
        if file.startswith(folder):
            return "machinery" if file[len(folder) :].split(os.sep, 1)[0] in _MACHINERY else "library"
    return "machinery" if file.startswith(_STANDARD) else "application"


def _tell(frame: FrameType, line: int | None = None) -> str:
    return line_of(frame.f_code, line or frame.f_lineno, frame.f_globals)


def line_of(code: CodeType, line: int, variables: dict[str, Any] | None = None) -> str:
    """Return a line of code in the same manner.

    Args:
        code: What the line is in.
        line: Its number, counted from 1.
        variables: The globals there, by which code is found that is in no plain file.
    """
    text = linecache.getline(code.co_filename, line, variables).strip()
    place = f"{_short(code.co_filename)}:{line} in {code.co_name}"
    return f"{place}: {text}" if text else place


def place_of(source: str | None) -> str:
    """The file and the line alone, of a line that is told in that manner: "file.py:12"; empty if there is none."""
    return (source or "").partition(" in ")[0].replace("\\", "/").rpartition("/")[2]


@lru_cache(_FILES)
def _short(file: str) -> str:
    return "/".join(Path(file).parts[-2:])
