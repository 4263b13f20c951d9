"""Notes of which databases are being explored, for the next exploration to find if this process is killed.

The copies of the starting rows end with our sessions, so that after a SIGKILL the rows of
a run stay.  A database that is made anew for each run of the tests forgets them; one that
is kept, as with `--reuse-db`, does not, and its tests would fail for no reason that shows.
A note is a file that its process has locked: one that nobody locks is of a killed one.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import warnings
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..exceptions import RowsLeftWarning

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from io import FileIO

_NONE: dict[str, Any] = {"tables": [], "folder": "", "birth": ""}


class Note:
    """What is told of one exploration, if nobody lives to take it back; nothing where there is no file."""

    def __init__(self, file: FileIO | None = None, content: dict[str, Any] | None = None) -> None:
        self._file = file
        self._content = content or {}

    def add(self, tables: Collection[str]) -> None:
        """Take note of tables that are about to be changed."""
        if self._file is None or set(tables) <= set(self._content["tables"]):
            return
        self._content["tables"] = sorted({*self._content["tables"], *tables})
        os.pwrite(self._file.fileno(), json.dumps(self._content).encode(), 0)


@contextmanager
def noted(identity: str, alias: str, birth: str) -> Iterator[Note]:
    """Note in a block that a database is explored; warn of those who did so before and were killed.

    Args:
        identity: What names the database.
        birth: Another one for a database of this name that was made anew.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield Note()
        return
    begin = hashlib.blake2b(identity.encode(), digest_size=12).hexdigest()
    folder = _folder()
    for path in folder.glob(f"{begin}-*"):
        _look_at(path, birth, fcntl)
    descriptor, name = tempfile.mkstemp(prefix=f"{begin}-", dir=folder)
    content = {
        "alias": alias,
        "birth": birth,
        "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
        "folder": os.getcwd(),
        "tables": [],
    }
    with open(descriptor, "w+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        os.pwrite(file.fileno(), json.dumps(content).encode(), 0)
        try:
            yield Note(file, content)
        finally:
            Path(name).unlink(missing_ok=True)


def left_changed() -> list[str]:
    """What explorations have left changed that began in this folder and were killed, a sentence each."""
    try:
        import fcntl
    except ImportError:
        return []
    contents = [_read_left(path, fcntl) for path in sorted(_folder().glob("*-*"))]
    return [_told(content) for content in contents if content["tables"] and content["folder"] == os.getcwd()]


def _look_at(path: Path, birth: str, fcntl: Any) -> None:
    content = _read_left(path, fcntl)
    if content is not _NONE:
        path.unlink(missing_ok=True)
    if content["tables"] and content["birth"] == birth:
        warnings.warn(_told(content), RowsLeftWarning, stacklevel=2)


def _read_left(path: Path, fcntl: Any) -> dict[str, Any]:
    """A note of a process that is gone."""
    with suppress(OSError, ValueError), open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # or its process is alive
        return {**_NONE, **json.load(file)}
    return _NONE


def _told(content: Mapping[str, Any]) -> str:
    return (
        f"An exploration of database {content['alias']!r} that began on {content['since']} was killed. Its "
        f"changes in {', '.join(content['tables'])} may still be there: create the test database again, as "
        "`pytest --create-db` does."
    )


def _folder() -> Path:
    """A folder of this user that outlives processes and their temporary folders."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    for folder in (Path(state, "aioconcurrent"), Path(tempfile.gettempdir(), f"aioconcurrent-state-{os.getuid()}")):
        with suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return folder
    return Path(tempfile.mkdtemp(prefix="aioconcurrent-state-"))
