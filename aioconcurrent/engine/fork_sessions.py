"""Sessions that forks of the template have open on servers, so that the template can end those of killed forks.

Each fork writes its sessions into one file without a name, which all of them share.  While the
engine lives it is told as well, and ends them itself.
"""

from __future__ import annotations

import os
import struct
import tempfile

_LENGTH = struct.Struct(">I")
_descriptor: int | None = None


def open_file() -> None:
    """Have a file for this process and its forks."""
    global _descriptor
    with tempfile.TemporaryFile() as file:
        _descriptor = os.dup(file.fileno())
    if hasattr(os, "O_APPEND"):
        import fcntl

        fcntl.fcntl(_descriptor, fcntl.F_SETFL, fcntl.fcntl(_descriptor, fcntl.F_GETFL) | os.O_APPEND)


def write(session: bytes) -> None:
    """Take note of a session; does nothing where there is no template above."""
    if _descriptor is not None:
        os.write(_descriptor, _LENGTH.pack(len(session)) + session)


def read() -> list[bytes]:
    """The sessions that were noted."""
    if _descriptor is None:
        return []
    content = os.pread(_descriptor, os.fstat(_descriptor).st_size, 0)
    found, place = [], 0
    while place < len(content):
        (length,) = _LENGTH.unpack_from(content, place)
        place += _LENGTH.size
        found.append(content[place : place + length])
        place += length
    return found


def forget() -> None:
    """Forget them, for nobody is left that may have opened one."""
    if _descriptor is not None:
        os.ftruncate(_descriptor, 0)
