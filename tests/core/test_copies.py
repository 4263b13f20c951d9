"""What runs on copies of a database would share all the same."""

from __future__ import annotations

import pytest

from aioconcurrent.base.trace import Operation
from aioconcurrent.databases.copies import is_shared


@pytest.mark.parametrize(
    ("operation", "shared"),
    [
        (Operation("cache", "get", ("k",)), True),
        (Operation("sql", "SELECT GET_LOCK(%s, 1)", ("name",), "mysql"), True),
        (Operation("sql", "ATTACH DATABASE %s AS other", ("other.sqlite3",), "sqlite"), True),
        (Operation("sql", "SELECT pg_advisory_lock(1)", (), "postgresql"), False),  # of one database
        (Operation("sql", "SELECT attach FROM mail", (), "sqlite"), False),
    ],
)
def test_caches_and_locks_of_the_whole_server_are_shared(operation: Operation, shared: bool) -> None:
    assert is_shared(operation) is shared
