"""What a run leaves behind: its steps as they were seen, and how it ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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


class Endless:
    """Stands for the outcome of a call that never ended."""

    def __repr__(self) -> str:
        return "<never ended>"


ENDLESS = Endless()


@dataclass(frozen=True)
class Ending:
    """How a whole run ended.

    Attributes:
        outcomes: Per call a value, or, if it raised, the exception or the
            `WrappedError` around it, or `ENDLESS`; anything for a call that was not made.
        tables: The rows of the tables that the run touched; others are as at the start.
        steps: What was done.
    """

    outcomes: tuple[Any, ...]
    tables: Mapping[str, list[dict[str, Any]]]
    steps: tuple[TracedStep, ...] = ()

    def among(self, calls: Sequence[int]) -> "Ending":
        """The same of these calls alone, which made all its steps, counted anew."""
        number = {call: index for index, call in enumerate(calls)}
        steps = tuple(
            replace(
                step,
                call=number[step.call],
                waited_for=frozenset(number[other] for other in step.waited_for),
            )
            for step in self.steps
        )
        return Ending(tuple(self.outcomes[call] for call in calls), self.tables, steps)


def call_name(call: int) -> str:
    """A, B, ... Z, AA, AB, ...: what texts call the calls."""
    letters = ""
    number = call + 1
    while number:
        number, letter = divmod(number - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return letters


def before_repeating(requests: Sequence[object]) -> int:
    """How many of these come before they only repeat themselves to their end, with the first two rounds of that."""
    tail = len(requests) // 4
    for period in range(1, tail // 2 + 1):
        if all(requests[-index] == requests[-index - period] for index in range(1, tail + 1)):
            start = len(requests) - tail - period
            while start and requests[start - 1] == requests[start - 1 + period]:
                start -= 1
            return start + 2 * period
    return len(requests)
