"""Runs in processes that are used again, and what sends an exploration back to fresh ones."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter as Count
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aioconcurrent import options
from aioconcurrent.sync import Exploration, explore
from tests.faults.processes import wait_until
from tests.project.coroutines import increment
from tests.project.databases import on, thorough
from tests.project.shop import remembering
from tests.project.shop.models import Counter

from .catalogue import CATALOGUE
from .places import Place, marks_of, thorough_but
from .test_catalogue import EVERY, TURNS, explored

SAME = "the same processes again and again"
EACH = "each run had fresh processes"


@pytest.fixture(autouse=True)
def reused() -> Iterator[None]:
    with options(processes="reused"):
        yield


def explored_twice(database: str, function: Callable[..., Any], **kwargs: Any) -> Exploration:
    Counter.objects.using(database).create(pk=1)
    call = (function, {"pk": 1, "using": database, **kwargs})
    return explore(call, call)


def note(found: Exploration) -> str:
    return found.notes[-1]


def is_safe(found: Exploration) -> bool:
    return (found.verdict, found.exhaustive) == ("no race", True)


def test_calls_that_remember_nothing_are_made_in_the_same_processes(database: str) -> None:
    found = explored_twice(database, remembering.add_twice)
    assert is_safe(found), found
    assert SAME in note(found)


@pytest.mark.parametrize(
    ("function", "place"),
    [
        (remembering.add_and_count, "remembering.seen"),
        (remembering.add_after_remembering, "remembering.remembered"),
        (remembering.add_with_default, "remembering.add_with_default"),
        (remembering.add_from_manager, "Counter.remembered"),
        (remembering.add_to_settings, "the settings"),
    ],
)
@pytest.mark.parametrize("database", on("file"))
def test_what_is_remembered_in_each_call_is_named_and_keeps_processes_fresh(
    database: str, function: Callable[..., Any], place: str
) -> None:
    found = explored_twice(database, function)
    assert is_safe(found), found
    assert EACH in note(found)
    assert place in note(found)


@pytest.mark.parametrize("database", on("file", "postgresql", "mysql"))
def test_a_cache_in_memory_hides_no_lost_update(database: str) -> None:
    found = explored_twice(database, remembering.add_from_cache)
    assert found.counterexample, found
    assert found.counterexample.anomaly == "lost update"
    assert "remembering.balances" in note(found)


@pytest.mark.parametrize("database", [*on("file", "postgresql"), *thorough(on("default", "mysql"))])
def test_what_is_remembered_in_some_orders_only_decides_as_in_fresh_processes(database: str) -> None:
    found = explored_twice(database, remembering.add_unless_behind)
    with options(processes="fresh"):
        fresh = explore(*[(remembering.add_unless_behind, {"pk": 1, "using": database})] * 2)
    assert (found.verdict, found.exhaustive) == (fresh.verdict, fresh.exhaustive), (found, fresh)
    twin = explore(*[(remembering.add_and_note, {"pk": 1, "using": database})] * 2)
    assert is_safe(twin), twin
    assert SAME in note(twin)


@pytest.mark.parametrize("database", on("file"))
@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("environment", "the environment"),
        ("directory", "the working directory"),
        ("thread", "the threads that run"),
        ("signal", "how signals are handled"),
        ("file", "which files are open"),
        ("child", "the processes that it has started"),
    ],
)
def test_what_a_call_leaves_in_its_process_is_named_and_keeps_processes_fresh(
    database: str, what: str, told: str
) -> None:
    found = explored_twice(database, remembering.leave, what=what)
    assert is_safe(found), found
    assert EACH in note(found)
    assert told in note(found)


@pytest.mark.parametrize("database", on("file"))
@pytest.mark.parametrize("always", [True, False])
def test_calls_that_do_other_things_in_used_processes_are_explored_in_fresh_ones(database: str, always: bool) -> None:
    found = explored_twice(database, remembering.mark_unseen, always=always)
    assert is_safe(found), found
    assert EACH in note(found)


@pytest.mark.parametrize("database", on("file"))
def test_a_race_that_fresh_processes_do_not_have_is_not_told(database: str) -> None:
    found = explored_twice(database, remembering.answer_unseen)
    assert is_safe(found), found
    assert EACH in note(found)


@pytest.mark.parametrize("database", [*on("default", "mysql"), *thorough(on("file", "postgresql"))])
def test_the_counterexample_is_of_processes_that_made_no_other_call(database: str, tmp_path: Path) -> None:
    record = tmp_path / "calls"
    found = explored_twice(database, remembering.lose, calls=str(record))
    assert found.counterexample, found
    assert found.counterexample.anomaly == "lost update"
    made = Count(map(int, record.read_text().split()))
    assert max(made.values()) > 2
    assert {made[report.pid] for report in found.counterexample.outcomes.reports if report.pid} == {1}
    assert "the counterexample is of fresh ones" in note(found)


_PLACE_OF = {"postgresql": "postgresql-RC", "mysql": "mysql-RC", "file": "file"}


@pytest.mark.parametrize("database", on("file"))
def test_a_process_whose_call_has_raised_makes_no_other(database: str, tmp_path: Path) -> None:
    record = tmp_path / "calls"
    Counter.objects.using(database).create(pk=1)
    call = (remembering.refuse_when_behind, {"pk": 1, "using": database, "calls": str(record)})
    found = explore(call, call, check=lambda outcomes: None, refusals=(BlockingIOError,))
    assert found.verdict == "no race", found
    assert SAME in note(found)
    lines = [line.split() for line in record.read_text().splitlines()]
    raised = Count(pid for pid, what in lines if what == "raised")
    assert set(raised.values()) == {1}
    assert all([what for pid, what in lines if pid == each][-1] == "raised" for each in raised)
    assert max(Count(pid for pid, what in lines if what == "made").values()) > 2


@pytest.mark.parametrize("database", on("file", "postgresql"))
def test_an_interruption_ends_processes_that_wait_for_another_call_too(database: str, tmp_path: Path) -> None:
    Counter.objects.using(database).create(pk=1)
    here = tmp_path / "here"

    def press() -> None:
        if wait_until(here.exists):
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        explore(
            (remembering.add_twice, {"pk": 1, "using": database}),
            (remembering.stand, {"pk": 1, "using": database, "here": str(here)}),
        )
    thread.join()
    assert Counter.objects.using(database).get(pk=1).value == 0


STATEMENTS = {
    "postgresql": [
        ["CREATE TEMP TABLE left_behind (a int)"],
        ["SHOW search_path", "SET search_path TO nowhere, public"],
        ["SELECT current_setting('shop.tenant', true)", "SELECT set_config('shop.tenant', 'a', false)"],
        ["SELECT current_setting('shop.tenant', true)", "SET shop.tenant = 'a'"],
        ["SHOW work_mem", "SET work_mem = '5MB'"],
        ["SHOW default_transaction_isolation", "SET default_transaction_isolation = 'serializable'"],
        ["PREPARE left_behind AS SELECT 1"],
        ["SELECT count(*) FROM pg_listening_channels()", "LISTEN left_behind"],
        ["SELECT count(*) FROM pg_cursors WHERE name = 'held'", "DECLARE held CURSOR WITH HOLD FOR SELECT 1"],
        ["SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", "SELECT pg_advisory_lock_shared(7)"],
        ["SHOW timezone", "SET TIME ZONE 'Europe/Rome'"],
    ],
    "mysql": [
        ["CREATE TEMPORARY TABLE left_behind (a int)"],
        ["SELECT @left_behind", "SET @left_behind = 7"],
        ["SELECT @@session.sql_mode", "SET SESSION sql_mode = ''"],
        ["SELECT @@session.tx_isolation", "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE"],
        ["PREPARE left_behind FROM 'SELECT 1'"],
        ["SELECT IS_USED_LOCK('left') = CONNECTION_ID()", "SELECT GET_LOCK('left', 0)"],
        ["SELECT @@session.time_zone", "SET time_zone = '+01:00'"],
    ],
    "file": [
        ["CREATE TEMP TABLE left_behind (a int)"],
        ["PRAGMA case_sensitive_like = ON", "SELECT 'a' LIKE 'A'"],
        ["PRAGMA cache_size", "PRAGMA cache_size = 17"],
        ["PRAGMA recursive_triggers", "PRAGMA recursive_triggers = ON"],
    ],
}


# Not understood, as others are that run each time: of MariaDB, every table is rebuilt after each run.
RARELY = ("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE", "PREPARE left_behind FROM 'SELECT 1'")


def _marks_of(alias: str, statements: list[str]) -> list[Any]:
    return [*marks_of(_PLACE_OF[alias]), *([pytest.mark.thorough] if statements[-1] in RARELY else [])]


@pytest.mark.parametrize(
    ("database", "statements"),
    [
        pytest.param(alias, statements, marks=_marks_of(alias, statements), id=f"{alias}-{statements[-1]}")
        for alias, each in STATEMENTS.items()
        for statements in each
    ],
)
def test_a_session_that_was_changed_is_as_a_new_one_to_the_next_call(database: str, statements: list[str]) -> None:
    Counter.objects.using(database).create(pk=1)
    call = (remembering.run_each, {"statements": statements, "pk": 1, "using": database})
    with options(processes="fresh"):
        fresh = explore(call, call, preemptions=1)
    found = explore(call, call, preemptions=1)  # enough runs for what is left to be met
    assert (found.verdict, found.reason) == (fresh.verdict, fresh.reason), (found, fresh)
    assert SAME in note(found), found


@pytest.mark.parametrize("database", on("file"))
def test_a_function_of_a_connection_is_gone_for_the_next_call(database: str) -> None:
    found = explored_twice(database, remembering.leave_function)
    assert is_safe(found), found
    assert SAME in note(found)


def test_an_open_transaction_is_gone_for_the_next_call(database: str) -> None:
    found = explored_twice(database, remembering.leave_attributes)
    with options(processes="fresh"):
        fresh = explore(*[(remembering.leave_attributes, {"pk": 1, "using": database})] * 2)
    assert (found.verdict, found.reason) == (fresh.verdict, fresh.reason)
    assert SAME in note(found), found


@pytest.mark.parametrize("database", on("file"))
def test_coroutines_have_fresh_processes(database: str) -> None:
    counter = Counter.objects.using(database).create()
    call = (increment, {"pk": counter.pk, "using": database})
    found = explore(call, call)
    assert found.verdict == "race"
    assert f"{EACH}: calls are coroutines" in note(found)


@pytest.mark.parametrize("database", on("file"))
@pytest.mark.parametrize("remembers", [True, False])
def test_what_the_test_replaces_is_looked_into(database: str, monkeypatch: pytest.MonkeyPatch, remembers: bool) -> None:
    looks: list[int] = []

    def look(pk: int, using: str) -> int:
        looks.extend([pk] * remembers)
        return Counter.objects.using(using).get(pk=pk).value

    monkeypatch.setattr(remembering, "look", look)
    found = explored_twice(database, remembering.add_twice)
    assert is_safe(found), found
    assert (EACH in note(found), "remembering.look" in note(found)) == (remembers, remembers), note(found)


@pytest.mark.parametrize("database", on("file"))
@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"start_method": "spawn"}, "they were not forked"),
        ({"workers": 2}, "several workers make them"),
        ({"prepare": remembering.nothing}, "each of them is prepared by the test"),
        ({"real_time": True}, "the calls have a running clock"),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else "",
)
def test_where_processes_cannot_be_used_again_a_note_says_why(database: str, given: dict[str, Any], why: str) -> None:
    with options(**given, max_schedules=2):
        found = explored_twice(database, remembering.add_twice)
    assert found.verdict == "inconclusive", found
    assert f"{EACH}: {why}" in note(found)


@pytest.mark.parametrize(
    ("name", "place"),
    thorough_but(EVERY, lambda name, place: place.name in TURNS[name] and name.startswith(("lost", "write", "dead"))),
    indirect=["place"],
)
def test_the_verdict_on_a_race_and_on_its_fixed_twin_is_the_same(name: str, place: Place) -> None:
    found, anomaly = explored(name, place), CATALOGUE[name].found[place.name]
    if anomaly is None:
        assert is_safe(found), found
    else:
        assert found.counterexample, found
        assert found.counterexample.anomaly == anomaly
    assert SAME in note(found), found
