"""Races that were reported against applications, each beside what mended it; `reports.py` names the reports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import OperationalError, connections

from tests.explore.places import Place
from tests.project.office import reports
from tests.truth.cases import Call, Case, at_places, each, twice

RACE, SAFE, CONFLICT, DEADLOCK = "race", "no race", "race: unhandled conflict", "race: deadlock"
LOST, DOUBLE, SKEW = "race: lost update", "race: double insert", "race: write skew"
SERVERS = ("postgresql-RC", "mysql-RC")


def everywhere(verdict: str, **elsewhere: str) -> dict[str, str]:
    """By place; `file_immediate` stands for "file-immediate"."""
    places = dict.fromkeys(("file", "file-immediate", *SERVERS), verdict)
    return places | {_place(name): other for name, other in elsewhere.items()}


def _place(name: str) -> str:
    return {"file_immediate": "file-immediate"}.get(name, name.replace("_", "-"))


def locked(**elsewhere: str) -> dict[str, str]:
    """Of what a lock of rows keeps right, which SQLite has none of: it refuses who reads first and writes later."""
    return everywhere(SAFE, file=CONFLICT, **elsewhere)


def at_once(verdict: str) -> dict[str, str]:
    """Of transactions that write first: SQLite makes one wait for the other."""
    return everywhere(verdict, file=SAFE, file_immediate=SAFE)


def in_turn(verdict: str) -> dict[str, str]:
    """Of transactions that read first and write then."""
    return everywhere(verdict, file=CONFLICT, file_immediate=SAFE)


def case(calls: list[Call], verdicts: Mapping[str, str], start: Any = reports.start, **options: Any) -> Case:
    return Case(calls, verdicts, start, options)


def beside(*calls: Call) -> list[Call]:
    return list(calls)


def both_orders(function: Any, **given: Any) -> list[Call]:
    return [(function, {"pks": pks, **given}) for pks in ([11, 12], [12, 11])]


r = reports
CASES = {
    "a name within a folder": case(twice(r.name_label, name="a"), everywhere(RACE)),
    "two names within a folder": case(each(r.name_label, name=("a", "b")), everywhere(SAFE)),
    "a name within a folder that is locked": case(twice(r.name_label, name="a", lock=True), locked()),
    "stock for two orders": case(twice(r.allocate, model="reply"), everywhere(RACE)),
    "stock for two kinds of orders": case(each(r.allocate, model=("reply", "bill")), everywhere(RACE)),
    "stock that one of two locks": case(
        [(r.allocate, {"model": "reply", "lock": True}), (r.allocate, {"model": "bill"})], everywhere(RACE)
    ),
    "stock that is locked": case(
        [(r.allocate, {"model": model, "lock": True}) for model in ("reply", "bill")], locked()
    ),
    "a document that coroutines make": case(twice(r.merge), everywhere(DOUBLE)),
    "an enrolment that coroutines make": case(twice(r.merge_once), everywhere(SAFE)),
    "a profile that is first asked for": case(twice(r.open_profile), everywhere(CONFLICT)),
    "a profile that is got or created": case(twice(r.open_profile_once), everywhere(SAFE)),
    "rows in two orders": case(both_orders(r.sync), at_once(DEADLOCK)),
    "rows in one order": case(both_orders(r.sync, ordered=True), everywhere(SAFE)),
    "rows in two orders after a lock": case(both_orders(r.sync, lock=True), locked()),
    "rows updated or made in two orders": case(
        each(r.upsert, courses=([1, 2], [2, 1])), everywhere(DEADLOCK, file=CONFLICT, file_immediate=SAFE)
    ),
    "names that are missing": case(each(r.add_handles, names=(["token", "a", "b"], ["b", "c"])), everywhere(CONFLICT)),
    "names that may be there": case(
        [(r.add_handles, {"names": names, "ignore": True}) for names in (["token", "a", "b"], ["b", "c"])],
        everywhere(SAFE),
    ),
    "a number of comments": case(twice(r.comment, how="count"), at_once(RACE)),
    "a number of comments in one statement": case(twice(r.comment, how="subquery"), at_once(RACE)),
    "a number that is raised": case(twice(r.comment, how="F"), everywhere(SAFE, mysql_RC=DEADLOCK)),
    "a number of comments under a lock": case(twice(r.comment, how="lock"), locked()),
    "an enrolment in a transaction": case(
        twice(r.enrol), everywhere(SAFE, file=CONFLICT, postgresql_RR=CONFLICT, mysql_RR=CONFLICT)
    ),
    "an enrolment alone": case(twice(r.enrol, atomic=False), everywhere(SAFE)),
    "a grade in a transaction": case(
        each(r.grade, grade=(1, 2)), everywhere(SAFE, file=CONFLICT, postgresql_RR=CONFLICT, mysql_RR=RACE)
    ),
    "folders moved into each other": case(
        each(r.move, folder=(12, 13), into=(13, 12)), everywhere(RACE, file_immediate=SAFE)
    ),
    "folders moved under a lock": case(
        [(r.move, {"folder": one, "into": other, "lock": True}) for one, other in ((12, 13), (13, 12))], locked()
    ),
    "a card that one of two locks": case(beside((r.pay, {}), (r.refund, {})), everywhere(LOST, file=RACE)),
    "a card that both lock": case(beside((r.pay, {}), (r.refund, {"lock": True})), locked()),
    "a card that the database keeps": case(
        beside((r.pay_in_database, {}), (r.refund_in_database, {})), everywhere(SAFE)
    ),
    "a card that is paid with twice": case(twice(r.pay_in_database), everywhere(SAFE)),
    "an invitation of two": case(each(r.accept, label=(11, 12)), everywhere(RACE)),
    "an invitation that is locked": case([(r.accept, {"label": label, "lock": True}) for label in (11, 12)], locked()),
    "a link": case(twice(r.use_link), everywhere(RACE)),
    "a link that is locked": case(twice(r.use_link, lock=True), locked()),
    "a link that is used by deleting": case(twice(r.use_link_by_deleting), everywhere(SAFE)),
    "the last two": case(each(r.leave, pk=(12, 13)), in_turn(SKEW)),
    "the last two, locked": case([(r.leave, {"pk": pk, "lock": True}) for pk in (12, 13)], locked()),
    "a lock that nobody evaluates": case(
        [(r.allocate_all, {"amount": amount, "lock": False}) for amount in (1, 2)], in_turn(RACE)
    ),
    "a lock that is evaluated": case(
        [(r.allocate_all, {"amount": amount, "lock": True}) for amount in (1, 2)], locked()
    ),
    "lines whose post is not locked": case(
        [(r.price, {"pk": 10 + n, "amount": 10 * n, "of": ["self"]}) for n in (1, 2)],
        {"postgresql-RC": LOST, "file-immediate": SAFE},
        r.start_priced,
    ),
    "lines whose post is locked": case(
        [(r.price, {"pk": 10 + n, "amount": 10 * n, "of": ["self", "post"]}) for n in (1, 2)],
        {"postgresql-RC": SAFE, "file-immediate": SAFE},
        r.start_priced,
    ),
    "labels that are added": case(
        [(r.set_labels, {"labels": labels, "how": "add"}) for labels in ([11, 12], [12])], everywhere(SAFE)
    ),
    "labels that are replaced": case(
        [(r.set_labels, {"labels": [label], "how": "set"}) for label in (11, 12)], in_turn(RACE)
    ),
    "labels that are cleared": case(
        [(r.set_labels, {"labels": [label], "how": "clear"}) for label in (11, 12)], everywhere(RACE)
    ),
    "labels that are replaced under a lock": case(
        [(r.set_labels, {"labels": [label], "how": "lock"}) for label in (11, 12)], locked()
    ),
    "keys of one JSON column": case(each(r.put_key, key=("x", "y")), everywhere(LOST), r.start_noted),
    "keys that the database merges": case(each(r.put_key_in_database, key=("x", "y")), everywhere(SAFE), r.start_noted),
    "a callback that does not look for locks": case(
        beside((r.activate, {}), (r.call_back, {})), dict.fromkeys(SERVERS, LOST)
    ),
    "a callback that gives way": case(
        beside((r.activate, {}), (r.call_back, {"how": "giving way"})), dict.fromkeys(SERVERS, SAFE)
    ),
    "a callback that fails": case(
        beside((r.activate, {}), (r.call_back, {"how": "raising"})), dict.fromkeys(SERVERS, CONFLICT)
    ),
    "a callback that may fail": case(
        beside((r.activate, {}), (r.call_back, {"how": "raising"})),
        dict.fromkeys(SERVERS, SAFE),
        refusals=OperationalError,
    ),
    "what is unique but for NULL": case(twice(r.ingest, course=None), everywhere(DOUBLE)),
    "what is unique": case(twice(r.ingest, course=3), everywhere(SAFE)),
    "a payment": case(twice(r.mark_paid), everywhere(RACE)),
    "a payment under a lock": case(twice(r.mark_paid, lock=True), locked(postgresql_RR=CONFLICT, mysql_RR=SAFE)),
    "a document made while another is restored": case(
        beside((r.create_document, {}), (r.restore_document, {})), everywhere(RACE)
    ),
    "a document of which one may live": case(
        beside((r.create_document, {"guarded": True}), (r.restore_document, {"guarded": True})), everywhere(SAFE)
    ),
    "an instance from before the lock": case(beside((r.confirm, {}), (r.fail, {})), everywhere(RACE)),
    "an instance that is read again": case(beside((r.confirm, {}), (r.fail, {"refresh": True})), locked()),
    "a summary without a constraint": case(
        each(r.summarise, likes=(1, 2)), everywhere(RACE, file=CONFLICT, file_immediate=SAFE, mysql_RR=SAFE)
    ),
    "a summary with a constraint": case(
        each(r.summarise_once, grade=(1, 2)), everywhere(SAFE, file=CONFLICT, mysql_RR=DEADLOCK)
    ),
    "two fields of a summary": case(
        beside((r.summarise_once, {"grade": 1}), (r.summarise_once, {"credits": 2})), locked(), r.start_enrolled
    ),
    "a task that is queued too early": case(
        beside((r.place_order, {"later": False}), (r.work_off, {})), everywhere(CONFLICT)
    ),
    "a task that is queued later": case(beside((r.place_order, {"later": True}), (r.work_off, {})), everywhere(SAFE)),
    "a task whose lock is let go": case(twice(r.work, how="after"), everywhere(RACE)),
    "a task that is locked": case(twice(r.work, how="within"), locked()),
    "a task that is claimed under its lock": case(twice(r.work, how="claiming"), locked()),
    "tasks that are locked": case(twice(r.work, how="within"), locked(), r.start_queued),
    "tasks that are waited for": case(twice(r.work, how="waiting"), locked(), r.start_queued),
    "requests that are counted badly": case(twice(r.allow), everywhere(LOST)),
    "requests that are counted": case(twice(r.allow, counted=True), everywhere(SAFE)),
    "a number that is read afterwards": case(twice(r.draw, how=""), everywhere(RACE)),
    "a number that is read before the commit": case(twice(r.draw, how="update"), everywhere(SAFE)),
    "a number under a lock": case(twice(r.draw, how="lock"), locked()),
    "sets that overlap": case(each(r.touch, pks=([11, 12], [12, 11])), dict.fromkeys(SERVERS, SAFE)),
    "an event that is looked for": case(twice(r.receive, how="look"), everywhere(CONFLICT, file_immediate=SAFE)),
    "an event without a savepoint": case(twice(r.receive, how="caught"), everywhere(SAFE)),
    "an event with a savepoint": case(twice(r.receive, how="savepoint"), everywhere(SAFE, postgresql_RR=RACE)),
    "two fields of whole rows": case(each(r.patch, field=("active", "likes"), value=(False, 5)), everywhere(LOST)),
    "two fields alone": case(
        [(r.patch, {"field": f, "value": v, "only": True}) for f, v in (("active", False), ("likes", 5))],
        everywhere(SAFE),
    ),
}


@pytest.mark.parametrize(("case", "place"), at_places(CASES, core=("postgresql-RC",)), indirect=["place"])
def test_a_report_is_a_race_and_what_mended_it_is_none(case: Case, place: Place, redis: str) -> None:
    case.check(place)


@contextmanager
def bookings(using: str) -> Iterator[None]:
    with connections[using].cursor() as cursor:
        cursor.execute("CREATE TABLE bookings (hours int4range)")
        cursor.execute("CREATE TABLE guarded_bookings (hours int4range, EXCLUDE USING gist (hours WITH &&))")
        try:
            yield
        finally:
            cursor.execute("DROP TABLE bookings, guarded_bookings")


BOOKINGS = {
    "bookings that are looked for": case(
        [(r.book, {"first": n, "last": n + 2, "table": "bookings"}) for n in (9, 10)], {"postgresql-RC": RACE}
    ),
    "bookings that the database refuses": case(
        [(r.book, {"first": n, "last": n + 2, "table": "guarded_bookings"}) for n in (9, 10)],
        {"postgresql-RC": CONFLICT},
    ),
    "bookings whose refusal is caught": case(
        [(r.book, {"first": n, "last": n + 2, "table": "guarded_bookings", "caught": True}) for n in (9, 10)],
        {"postgresql-RC": SAFE},
    ),
}


@pytest.mark.parametrize(("case", "place"), at_places(BOOKINGS), indirect=["place"])
def test_bookings_overlap(case: Case, place: Place) -> None:
    with bookings(place.alias):
        case.check(place)
