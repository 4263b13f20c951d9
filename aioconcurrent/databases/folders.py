"""Temporary folders that are taken away by whoever comes next, if their owner could not do it.

A process that is killed leaves its folders behind.  The kernel gives up its locks
(flock(2)), which tells a folder that was left from one in use, of whatever process
and in whatever container.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "aioconcurrent-lent-"
_NEW = "."  # before the name of one that is not locked yet


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for the block; the first one of a process takes those away that killed processes have left."""
    _sweep(tempfile.gettempdir())
    new = Path(tempfile.mkdtemp(prefix=_NEW + PREFIX))
    folder = new.with_name(new.name.removeprefix(_NEW))
    descriptor = _lock(new)
    try:
        new.rename(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


@cache
def _sweep(parent: str) -> None:
    with contextlib.suppress(OSError):
        for path in Path(parent).glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError):  # it is in use, or somebody else's
                descriptor = _lock(path)
                if descriptor is not None:
                    shutil.rmtree(path, ignore_errors=True)
                    os.close(descriptor)


def _lock(folder: Path) -> int | None:
    """Lock a folder for as long as the descriptor is open; None where that is not to be had.

    Raises:
        OSError: Somebody else has it locked.
    """
    try:
        import fcntl
    except ImportError:  # on Windows
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
