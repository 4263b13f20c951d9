"""What a run leaves behind: its steps as they were seen, and how it ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .operation import Operation

ROWS_KEPT = 20


@dataclass(frozen=True, slots=True)
class TracedStep:
    """One thing that a call did, in the order in which it was let go.

    Attributes:
        call: Which call, counted from 0.
        operation: What it asked for.
        source: The application's innermost line, as "shop/services.py:42 in withdraw: account.save()".
        rowcount: As the driver counted; None or negative where it did not.
        columns: The names of the result's columns; of a cache operation the keys.
        rows: The first `ROWS_KEPT` rows that were fetched; of a cache operation one
            row, the values that were found (None: nothing) or stored.
        error: The class and text of the error, if it failed.
        waited_for: The calls that it waited for in the database.
        resumed_after: If it waited, the index of the step that set it free; None if nothing did.
    """

    call: int
    operation: Operation
    source: str | None = None
    rowcount: int | None = None
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[object, ...], ...] = ()
    error: str | None = None
    waited_for: frozenset[int] = frozenset()
    resumed_after: int | None = None


@dataclass(frozen=True)
class Ending:
    """How a whole run ended.

    Attributes:
        outcomes: Per call a value, or, if it raised, the exception or the
            `WrappedError` around it; anything for a call that was not made.
        tables: The rows of the tables that the run touched; others are as at the start.
        steps: What was done.
    """

    outcomes: tuple[Any, ...]
    tables: Mapping[str, list[dict[str, Any]]]
    steps: tuple[TracedStep, ...] = ()


def call_name(call: int) -> str:
    """A, B, ... Z, AA, AB, ...: what texts call the calls."""
    letters = ""
    number = call + 1
    while number:
        number, letter = divmod(number - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return letters
