"""Puts the memory that forks share into pages of 2 MB, because a fork copies an entry for each page.

With small pages that is half of the cost of a fork, and nearly all of it in a large project.
A large page that a fork writes to is still copied in small pieces.  Linux can do this on
request from version 6.1 on (madvise(2), MADV_COLLAPSE); elsewhere nothing depends on it.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_COLLAPSE = 25  # linux/mman.h
_SIZE = 2 * 1024 * 1024  # bytes of a large page, where small ones have 4 KB
_PIECE = 4 * _SIZE  # what is done at a time, in some milliseconds

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def pieces() -> Iterator[range]:
    """The memory of this process that can be written and belongs to no file, as far as large pages fit in."""
    if _libc is None:
        return
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, access, _, _, inode, *_ = line.split()
        first, last = (int(address, 16) for address in place.split("-"))
        start, end = -(-first // _SIZE) * _SIZE, last // _SIZE * _SIZE
        if access == "rw-p" and inode == "0":
            yield from (range(each, min(each + _PIECE, end)) for each in range(start, end, _PIECE))


def enlarge(piece: range) -> None:
    """Put this memory into large pages."""
    if _libc is not None:
        _libc.madvise(ctypes.c_void_p(piece.start), ctypes.c_size_t(len(piece)), _COLLAPSE)
