"""What starts another interpreter."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def with_path(path: Sequence[str], program: str) -> str:
    """The text of a program with an import path: without it, nothing of ours could be imported there."""
    return f"import sys; sys.path[:] = {list(path)!r}; {program}"
