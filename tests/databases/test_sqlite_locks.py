"""What SQLite itself waits for, and what it refuses at once: connections with a timeout, in threads."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.faults.processes import wait_until

TIMEOUT = 30.0  # seconds; whoever is refused at once is refused long before


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Callable[..., sqlite3.Connection]]:
    opened: list[sqlite3.Connection] = []

    def open_one(timeout: float = TIMEOUT) -> sqlite3.Connection:
        opened.append(sqlite3.connect(tmp_path / "db", timeout, isolation_level=None, check_same_thread=False))
        return opened[-1]

    with closing(open_one()) as first:
        first.executescript("CREATE TABLE a (x); INSERT INTO a VALUES (1)")
    yield open_one
    for each in opened:
        each.close()


class Thread(threading.Thread):
    """Runs a function, and keeps what it gives or raises."""

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__()
        self._function = function
        self.result: Any = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self._function()
        except sqlite3.Error as error:
            self.result = error


def waits_at_its_commit(other: sqlite3.Connection) -> bool:
    """Whether somebody keeps new readers out, while he waits for the old ones."""
    try:
        other.execute("SELECT x FROM a").fetchall()
    except sqlite3.OperationalError:
        return True
    return False


INSERT = "INSERT INTO a VALUES (2) RETURNING x"


@pytest.mark.parametrize("write", ["UPDATE a SET x = x + 1", INSERT])
def test_a_writer_in_autocommit_waits_at_its_last_fetch_for_readers(connect: Any, write: str) -> None:
    reader, writer, other = connect(), connect(), connect(0)
    reader.execute("BEGIN")
    reader.execute("SELECT x FROM a").fetchall()
    thread = Thread(lambda: writer.execute(write).fetchall())
    wait_until(lambda: waits_at_its_commit(other), TIMEOUT)
    assert thread.is_alive()
    assert reader.execute("SELECT x FROM a").fetchall() == [(1,)]
    reader.execute("COMMIT")
    thread.join()
    assert not isinstance(thread.result, Exception)


def test_a_reader_that_begins_to_write_is_refused_at_once_while_another_waits_to_commit(connect: Any) -> None:
    reader, writer, other = connect(), connect(), connect(0)
    reader.execute("BEGIN")
    reader.execute("SELECT x FROM a").fetchall()
    thread = Thread(lambda: writer.execute(INSERT).fetchall())
    wait_until(lambda: waits_at_its_commit(other), TIMEOUT)
    with pytest.raises(sqlite3.OperationalError, match="database is locked"):
        reader.execute("UPDATE a SET x = 3")
    assert thread.is_alive()
    reader.execute("ROLLBACK")
    thread.join()
    assert thread.result == [(2,)]


def test_what_a_commit_at_the_last_fetch_was_refused_for_is_rolled_back(connect: Any) -> None:
    reader, writer = connect(), connect(0)
    reader.execute("BEGIN")
    reader.execute("SELECT x FROM a").fetchall()
    with pytest.raises(sqlite3.OperationalError, match="database is locked"):
        writer.execute(INSERT).fetchall()
    assert not writer.in_transaction
    reader.execute("COMMIT")
    assert writer.execute("SELECT x FROM a").fetchall() == [(1,)]
