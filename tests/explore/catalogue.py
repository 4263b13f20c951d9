"""The catalogue: each race, where it is one, and its fixed twin, which is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.project.shop import races
from tests.project.shop.models import Account, Counter, Doctor, Show

Function = Callable[..., Any]
Call = tuple[Function, dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """Calls in some places, and the anomaly there; None where there is none.

    Attributes:
        rows: Makes the starting rows in the database of an alias.
    """

    calls: Sequence[tuple[Function, Mapping[str, Any]]]
    rows: Callable[[str], object]
    found: Mapping[str, str | None] = field(default_factory=dict)

    def calls_at(self, alias: str) -> list[Call]:
        return [(function, {**kwargs, "using": alias}) for function, kwargs in self.calls]


SQLITE = ("file",)
IMMEDIATE = ("file-immediate",)
LOOSE = ("postgresql-RC", "mysql-RC")
REPEATABLE = ("postgresql-RR", "mysql-RR")
SERIALIZABLE = ("postgresql-SER", "mysql-SER")
EVERYWHERE = (*SQLITE, *LOOSE)


def accounts(alias: str) -> None:
    Account.objects.using(alias).bulk_create(Account(pk=pk, owner=f"owner {pk}", balance=pk * 100) for pk in (1, 2, 3))


def nothing(alias: str) -> None:
    pass


def doctors(alias: str) -> None:
    Doctor.objects.using(alias).bulk_create([Doctor(pk=1, name="ada"), Doctor(pk=2, name="bob")])


def doctors_and_accounts(alias: str) -> None:
    accounts(alias)
    doctors(alias)


def show(alias: str) -> None:
    Show.objects.using(alias).create(pk=1, title="Hamlet", seats_left=1)


def shown(alias: str) -> None:
    Show.objects.using(alias).create(pk=1, title="Hamlet", seats_left=10)


def counters(alias: str) -> None:
    Counter.objects.using(alias).bulk_create([Counter(pk=1, name="left"), Counter(pk=2, name="right")])


def _in(places: Sequence[str], anomaly: str | None) -> dict[str, str | None]:
    return dict.fromkeys(places, anomaly)


def twice(function: Function, **kwargs: Any) -> Sequence[tuple[Function, Mapping[str, Any]]]:
    return [(function, kwargs)] * 2


def _skew(function: Function) -> Sequence[tuple[Function, Mapping[str, Any]]]:
    return [(function, {"name": "ada"}), (function, {"name": "bob"})]


def _bookings(function: Function) -> Sequence[tuple[Function, Mapping[str, Any]]]:
    return [(function, {"show_id": 1, "buyer": "ada"}), (function, {"show_id": 1, "buyer": "bob"})]


def _moves(function: Function) -> Sequence[tuple[Function, Mapping[str, Any]]]:
    return [
        (function, {"source": 1, "target": 2, "amount": 10}),
        (function, {"source": 2, "target": 1, "amount": 5}),
    ]


def _ring(function: Function) -> Sequence[tuple[Function, Mapping[str, Any]]]:
    return [(function, {"source": source, "target": target}) for source, target in ((2, 1), (3, 2), (1, 3))]


def _far_apart(name: str) -> Sequence[tuple[Function, Mapping[str, Any]]]:
    return [(races.add_early, {"pk": 1, "function": name}), (races.add_late, {"pk": 1, "function": name})]


_ONE_MORE = {"pk": 1, "amount": 1}
_CONFLICT = "unhandled conflict"

CATALOGUE = {
    "lost update": Case(
        twice(races.add, **_ONE_MORE), accounts, _in(("memory", "file-wal", *EVERYWHERE), "lost update")
    ),
    "lost update, fixed": Case(
        twice(races.add_in_database, **_ONE_MORE), accounts, _in(("memory", "file-wal", *EVERYWHERE), None)
    ),
    "lost update in atomic": Case(
        twice(races.add_in_atomic, **_ONE_MORE),
        accounts,
        _in((*LOOSE, "mysql-RR"), "lost update")
        | _in((*SQLITE, "file-wal", "postgresql-RR", "postgresql-SER"), _CONFLICT)
        | _in(("mysql-SER",), "deadlock")
        | _in((*IMMEDIATE, "file-wal-immediate"), None),
    ),
    "lost update in atomic, locked": Case(
        twice(races.add_locked, **_ONE_MORE),
        accounts,
        _in((*LOOSE, "mysql-RR", "mysql-SER", *IMMEDIATE), None)
        | _in(("file", "postgresql-RR"), _CONFLICT),  # SQLite does not lock, and PostgreSQL refuses what has changed
    ),
    "lost update in atomic, repeated": Case(
        twice(races.add_repeatedly, **_ONE_MORE),
        accounts,
        # To SQLite, which fails at once, five times in a row are not enough as long as the other has not gone on.
        _in(("postgresql-RR", "mysql-SER"), None) | _in(("file",), _CONFLICT),
    ),
    "check, then insert": Case(twice(races.claim, code="x"), nothing, _in(EVERYWHERE, "double insert")),
    "check, then insert, unique": Case(twice(races.claim_unique, code="x"), nothing, _in(EVERYWHERE, _CONFLICT)),
    "check, then insert, fixed": Case(twice(races.claim_caught, code="x"), nothing, _in(EVERYWHERE, None)),
    "get_or_create": Case(twice(races.get_or_create, code="x"), nothing, _in(EVERYWHERE, "double insert")),
    "get_or_create, unique": Case(
        twice(races.get_or_create_unique, code="x"), nothing, _in((*EVERYWHERE, *IMMEDIATE), None)
    ),
    "write skew": Case(
        _skew(races.go_off_call),
        doctors,
        _in((*LOOSE, *REPEATABLE), "write skew")
        | _in((*SQLITE, "postgresql-SER"), _CONFLICT)
        | _in(("mysql-SER",), "deadlock")
        | _in(IMMEDIATE, None),
    ),
    "write skew, repeated": Case(_skew(races.go_off_call_repeatedly), doctors, _in(SERIALIZABLE, None)),
    "write skew, locked": Case(_skew(races.go_off_call_locking), doctors, _in((*LOOSE, *IMMEDIATE), None)),
    "phantom": Case(_bookings(races.book), show, _in(EVERYWHERE, "phantom")),
    "phantom in atomic": Case(
        _bookings(races.book_in_atomic),
        show,
        _in((*LOOSE, *REPEATABLE), "phantom") | _in(("file",), _CONFLICT) | _in(IMMEDIATE, None),
    ),
    "phantom, fixed": Case(
        _bookings(races.book_locked),
        show,
        _in((*LOOSE, *IMMEDIATE, "mysql-SER"), None) | _in(("postgresql-RR",), "phantom"),  # counts in an old snapshot
    ),
    "deadlock": Case(_moves(races.move), accounts, _in(LOOSE, "deadlock") | _in((*SQLITE, *IMMEDIATE), None)),
    "deadlock, fixed": Case(_moves(races.move_in_order), accounts, _in(LOOSE, None)),
    "waits with an old snapshot": Case(
        [(races.sell_and_count, {"show_id": 1, "buyer": "ada"}), (races.recount, {"show_id": 1})],
        shown,
        _in(("postgresql-RC",), "stale snapshot") | _in(("file",), None),
    ),
    "waits with an old snapshot, fixed": Case(
        [(races.sell_and_count, {"show_id": 1, "buyer": "ada"}), (races.recount_locked, {"show_id": 1})],
        shown,
        _in(("postgresql-RC",), None),
    ),
    "two preemptions": Case(
        [(races.open_both, {}), (races.look_thrice, {})], counters, _in(EVERYWHERE, "non-repeatable read")
    ),
    "two preemptions, fixed": Case([(races.open_both, {}), (races.look_once, {})], counters, _in(EVERYWHERE, None)),
    "far apart": Case(_far_apart("add"), doctors_and_accounts, _in(EVERYWHERE, "lost update")),
    "far apart, fixed": Case(_far_apart("add_in_database"), doctors_and_accounts, _in(EVERYWHERE, None)),
    "far apart, locked": Case(_far_apart("add_locked"), doctors_and_accounts, _in((*LOOSE, *IMMEDIATE), None)),
    "three calls": Case(_ring(races.copy_balance), accounts, _in(EVERYWHERE, "stale read")),
    "three calls, fixed": Case(_ring(races.copy_balance_locked), accounts, _in((*LOOSE, "file-immediate"), None)),
}
