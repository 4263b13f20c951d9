"""What a call did to what calls share, as `options(record=True)` notes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .exploring.operation import Operation


@dataclass(frozen=True, slots=True)
class RecordedStep:
    """One database round trip, cache operation or `step()` of a call that was recorded.

    Attributes:
        operation: What it was: `.kind`, `.text` (the SQL, for example) and `.parameters` among others.
        source: The application's innermost line, as "shop/services.py:42 in withdraw: account.save()".
        started: When it began, in seconds of `time.monotonic`.
        ended: When it ended; None if it had not when the call ended.
        rowcount: As the driver counted; None or negative where it did not.
        columns: The names of the result's columns; of a cache operation the keys.
        rows: The first rows that were fetched; of a cache operation one row, the
            values that were found or stored.
        error: The class and text of the error, if it failed.
        waited: How many of its seconds the database said that it waited for a lock;
            a wait of less than about 2 ms is not seen, and SQLite never says so.
        waited_for: The calls that it waited for, counted from 0; empty where the
            database did not tell whose the lock was.
        session: What the server calls the connection; None where it has no name.
    """

    operation: Operation
    source: str | None
    started: float
    ended: float | None = None
    rowcount: int | None = None
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[object, ...], ...] = ()
    error: str | None = None
    waited: float = 0.0
    waited_for: frozenset[int] = frozenset()
    session: int | None = None
