"""The data model of what calls do: from the wrapper that reports a step to the page that shows it.

A step is an operation and its result.  A run is all steps of some calls, and how they ended.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from .pickling import Fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Kind = Literal["start", "sql", "fetch", "many", "callproc", "commit", "rollback", "close", "step", "cache", "enqueue"]
CACHE_READS = frozenset({"get", "get_many", "has_key"})  # methods of caches that change nothing
Primitive = str | bytes | int | float | bool | None

ROWS_KEPT = 20  # of a result


@dataclass(frozen=True, slots=True)
class Operation(Fields):
    """One thing a call asks to do; equal in two runs if it is the same request."""

    kind: Kind
    text: str = ""  # the SQL, or the name of the procedure, of the cache method, of the step or of the task
    parameters: tuple[Primitive, ...] | None = None  # of a cache method: its keys, as the cache stores them
    vendor: str = ""  # Django's: "postgresql", "mysql", "sqlite"; empty for steps and caches
    database: str = ""  # what two aliases of one database have in common; for a cache the same
    connection: int = 0  # which of the call's connections, counted in the order they were opened
    in_transaction: bool = False
    isolation: str | None = None  # "read committed" and so on; None is taken for the strictest
    split: bool = False  # a statement in autocommit that was given a transaction, or the COMMIT of that


START = Operation("start")  # what a call asks for first: to run its Python up to its first operation on shared data
LATER = Operation("start", "later")  # the same of a task that was tried before, and has to wait a while


@dataclass(frozen=True, slots=True)
class Step:
    """One database round trip, cache operation or `step()` of a call, and what came of it.

    Attributes:
        call: Which call, counted from 0.
        operation: What it was: `.kind`, `.text` (the SQL, for example) and `.parameters` among others.
        source: The application's innermost line, as "shop/services.py:42 in withdraw: account.save()".
        rowcount: As the driver counted; None or negative where it did not.
        columns: The names of the result's columns; of a cache operation the keys.
        rows: The first `ROWS_KEPT` rows that were fetched; of a cache operation one
            row, the values that were found (None: nothing) or stored.
        error: The class and text of the error, if it failed.
        waited_for: The calls that it waited for in the database, counted from 0; empty
            where the database did not tell whose the lock was.
        resumed_after: If it waited, the index of the step that set it free; None if nothing did.
        enabled: Where calls are stepped: those that could have been let go in its place, and its own.
        started: Where calls run freely: when it began, in seconds of `time.monotonic`.
        ended: When it ended; None if it had not when the call ended.
        waited: How many of its seconds the database said that it waited for a lock;
            a wait of less than about 2 ms is not seen, and SQLite never says so.
        session: What the server calls the connection; None where it has no name.
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
    enabled: frozenset[int] = frozenset()
    started: float = 0.0
    ended: float | None = None
    waited: float = 0.0
    session: int | None = None


RecordedStep = Step  # what it is called where calls run freely


@dataclass(frozen=True, slots=True)
class LockSite:
    """Something that keeps calls from getting in each other's way.

    Attributes:
        source: The application's line that has it, as in `Step.source`; of a constraint, the line that met it.
        name: Of a constraint.
    """

    kind: Literal["FOR UPDATE", "atomic", "constraint"]
    source: str
    name: str = ""


class Endless:
    """Stands for the outcome of a call that never ended."""

    def __repr__(self) -> str:
        return "<never ended>"


ENDLESS = Endless()


class Precedence(NamedTuple):
    """Why one call comes before another in any serial order: its step `before`, as an index, and the other's, `after`.

    Attributes:
        why: "read": the step before read what the step after had not changed yet; "write": the step after wrote over
            what the step before had written; "seen": the step after read what the step before had written.
    """

    before: int
    after: int
    why: Literal["read", "write", "seen"]


@dataclass(frozen=True)
class Run:
    """What some calls did, and how that ended.

    Attributes:
        outcomes: Per call a value, or, if it raised, the exception or the
            `WrappedError` around it, or `ENDLESS`; anything for a call that was not made.
        tables: The rows of the tables that the run touched; others are as at the start.
        steps: What was done, in the order in which it was let go or began.
        private: The indexes of the steps that are known to touch nothing of other calls.
    """

    outcomes: tuple[Any, ...] = ()
    tables: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    private: frozenset[int] = frozenset()

    @property
    def is_endless(self) -> bool:
        """Whether it would have gone on for ever."""
        return ENDLESS in self.outcomes

    @property
    def is_timed(self) -> bool:
        """Whether it is known when its steps began and ended."""
        return any(step.started or step.ended for step in self.steps)

    @property
    def begun(self) -> float:
        """When the first step began, if it is timed."""
        return min((step.started for step in self.steps), default=0.0)

    @cached_property
    def set_free(self) -> dict[int, list[int]]:
        """For each step that ended waits, the indexes of the steps that went on."""
        found: dict[int, list[int]] = {}
        for index, step in enumerate(self.steps):
            if step.resumed_after is not None:
                found.setdefault(step.resumed_after, []).append(index)
        return found

    def among(self, calls: Sequence[int]) -> Run:
        """This run with its calls renumbered in this order; they have to be all that made a step."""
        number = {call: index for index, call in enumerate(calls)}

        def renumbered(those: frozenset[int]) -> frozenset[int]:
            return frozenset(number[call] for call in those)

        steps = tuple(
            replace(
                step,
                call=number[step.call],
                waited_for=renumbered(step.waited_for),
                enabled=renumbered(step.enabled),
            )
            for step in self.steps
        )
        return Run(tuple(self.outcomes[call] for call in calls), self.tables, steps, self.private)


def interleaved(calls: Iterable[Iterable[Step]]) -> tuple[Step, ...]:
    """The recorded steps of all calls in the order of their beginnings, each with the one that set it free."""
    made = sorted((step for steps in calls for step in steps), key=lambda step: step.started)
    return tuple(replace(step, resumed_after=_set_free_by(step, made)) for step in made)


def _set_free_by(waiter: Step, made: Sequence[Step]) -> int | None:
    """The last step with which a call that was waited for may have given up its locks, as far as times tell."""
    if waiter.ended is None:
        return None
    found = [
        (_ends_transaction(step), number)
        for number, step in enumerate(made)
        if step.call in waiter.waited_for
        and step.operation.database == waiter.operation.database
        and (_ends_transaction(step) or not step.operation.in_transaction)
        and step.started < waiter.ended
        and (step.ended or step.started) > waiter.started
    ]
    return max(found)[1] if found else None


def _ends_transaction(step: Step) -> bool:
    return step.operation.kind in ("commit", "rollback", "close")


def task_text(operation: Operation) -> str:
    """The task that an operation enqueues, without its module, as "send_receipt(5)"."""
    arguments = ", ".join(map(str, operation.parameters or ()))
    return f"{operation.text.rpartition('.')[2]}({arguments})"


def call_name(call: int) -> str:
    """A, B, ... Z, AA, AB, ...: what texts call the calls."""
    letters = ""
    number = call + 1
    while number:
        number, letter = divmod(number - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return letters


def call_names(calls: Iterable[int]) -> str:
    """Several of them, as "A and C"."""
    return " and ".join(map(call_name, sorted(calls)))
