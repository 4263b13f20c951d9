"""Where in the application something was asked for."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

_HERE = str(Path(__file__).parents[1])
_FOREIGN = (_HERE, *{sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def application_line() -> str | None:
    """Return "folder/file.py:12 in function" of the innermost frame that is neither a library's nor ours."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith((*_FOREIGN, "<")):
            return f"{_short(name)}:{frame.f_lineno} in {frame.f_code.co_name}"
        frame = frame.f_back  # type: ignore[assignment]  # the outermost has none
    return None


def _short(name: str) -> str:
    return "/".join(Path(name).parts[-2:])
