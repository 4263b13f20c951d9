"""Explorations of functions that wait, die, hang or quarrel with the server: each ends and says why."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio
import psutil
import pytest
from django.db import connections, transaction

from aioconcurrent import NotATestDatabaseError, Outcomes, StateError, UncommittedDataError, WrappedError, options
from aioconcurrent import explore as aexplore
from aioconcurrent.sync import explore
from tests.faults import misbehaviour, raises
from tests.faults.processes import wait_until
from tests.faults.sessions import end_session, sessions_of
from tests.project.databases import LABELS, ThreadOfQueries, on, taking_turns
from tests.project.shop.models import Counter

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture
def counter(database: str) -> Iterator[Counter]:
    """A row that every exploration finds, and has to leave, as it is."""
    counter = Counter.objects.using(database).create(name="clicks")
    sessions = sessions_of(database)
    yield counter
    assert list(Counter.objects.using(database).values_list("name", "value")) == [("clicks", 0)]
    assert wait_until(lambda: sessions_of(database) == sessions)


def twice(function: Callable[..., Any], counter: Counter) -> list[Any]:
    return [partial(function, counter.pk, counter._state.db)] * 2


def cases(*wanted: tuple[Callable[..., Any], str, str]) -> list[Any]:
    return [
        pytest.param(alias, function, text, id=f"{function.__name__}-{LABELS[alias]}", marks=mark.marks)
        for function, aliases, text in wanted
        for alias in aliases.split()
        for mark in cast("list[Any]", on(alias))
    ]


@pytest.mark.parametrize(
    ("database", "function", "text"),
    cases(
        (misbehaviour.sleep_between, "file", "it asked for nothing for 0.5 s"),
        (misbehaviour.sleep_at_the_end, "postgresql", "it asked for nothing for 0.5 s"),
        (misbehaviour.sleep_in_the_database, "postgresql mysql", "its statement did not end for 0.5 s"),
    ),
)
def test_a_call_that_does_not_end_is_given_up(counter: Counter, function: Callable[..., Any], text: str) -> None:
    with options(timeout=0.5):
        found = explore(*twice(function, counter))
    assert found.verdict == "inconclusive"
    assert text in found.reason


@pytest.mark.parametrize(
    ("database", "function", "text"),
    cases(
        (misbehaviour.kill_itself, "file postgresql mysql", "was killed by SIGKILL while running"),
        (misbehaviour.exit_at_once, "postgresql", "exited with status 3 while running"),
    ),
)
def test_a_process_that_dies_is_told_of(counter: Counter, function: Callable[..., Any], text: str) -> None:
    found = explore(*twice(function, counter))
    assert found.verdict == "inconclusive"
    assert text in found.reason


@pytest.mark.parametrize("database", on("file", "postgresql"))
@pytest.mark.parametrize("dying", [0, 1])
def test_a_process_that_dies_while_it_stands_still_is_named(counter: Counter, database: str, dying: int) -> None:
    calls = [
        (misbehaviour.die_while_it_stands, (counter.pk, database), {"dies": number == dying}) for number in range(2)
    ]
    found = explore(*calls)
    assert found.verdict == "inconclusive", found
    assert f"{'AB'[dying]} has no outcome" in found.reason
    assert "exited with status 3" in found.reason


def test_what_a_call_had_done_ahead_before_it_died_is_put_back(counter: Counter, tmp_path: Path) -> None:
    die = partial(misbehaviour.die_after_an_insert, path=str(tmp_path / "calls"))
    found = explore(*twice(die, counter))
    assert "exited with status 3" in found.reason
    assert "somebody else wrote" not in found.reason


@pytest.mark.parametrize(
    ("database", "function"),
    taking_turns(
        on("postgresql", "mysql"),
        [
            misbehaviour.lose_session_to_somebody,
            misbehaviour.lose_session_unnoticed,
            misbehaviour.lose_session_at_the_end,
        ],
        all_thoroughly=True,
    ),
)
def test_a_run_in_which_somebody_ended_a_session_proves_nothing(counter: Counter, function: Callable[..., Any]) -> None:
    found = explore(*twice(function, counter))
    assert found.verdict == "inconclusive", found
    assert "the server has ended the session of call 1, and no call asked it to" in found.reason


# What keeps the rows, twice; what sees who waits; two of the next run.
@pytest.mark.parametrize(("database", "victim"), taking_turns(on("postgresql", "mysql"), range(5)))
def test_whichever_session_the_server_ends_the_rows_are_put_back(counter: Counter, database: str, victim: int) -> None:
    own = sessions_of(database)
    left = [victim]

    def end_one(_: Outcomes) -> None:
        if left:
            assert wait_until(lambda: len(sessions_of(database) - own) > victim)
            end_session(database, sorted(sessions_of(database) - own)[left.pop()])

    found = explore(*twice(misbehaviour.write_in_transaction, counter), check=end_one)
    assert not left
    assert found.verdict == ("no race" if victim < 3 else "inconclusive"), found
    if victim >= 3:
        assert "the server has ended the session of call" in found.reason


@pytest.mark.parametrize("database", on("postgresql", "mysql"))
def test_the_end_of_all_sessions_that_keep_the_rows_is_told(counter: Counter, database: str) -> None:
    own = sessions_of(database)

    def end_all(_: Outcomes) -> None:
        for session in sessions_of(database) - own:
            end_session(database, session)

    with pytest.raises(StateError, match="has ended all sessions"):
        explore(*twice(misbehaviour.write_in_transaction, counter), check=end_all)
    Counter.objects.using(database).update(value=0)


@pytest.mark.parametrize("database", on("file"))
def test_calls_that_wait_for_each_other_in_a_loop_of_queries_are_given_up(counter: Counter, database: str) -> None:
    waiting = misbehaviour.poll_for_other
    found = explore((waiting, ("a", "b", database), {}), (waiting, ("b", "a", database), {}))
    assert found.verdict == "inconclusive"
    assert "had not ended after 1000 steps" in found.reason


@pytest.mark.parametrize("database", on("file"))
def test_calls_that_wait_for_each_other_outside_of_the_database_are_given_up(counter: Counter, tmp_path: Path) -> None:
    waiting = partial(misbehaviour.wait_for_file, pk=counter.pk, using="file", folder=tmp_path)
    with options(timeout=0.5):
        found = explore(partial(waiting, own="a", other="b"), partial(waiting, own="b", other="a"))
    assert found.verdict == "inconclusive"
    assert "it asked for nothing for 0.5 s" in found.reason


@pytest.mark.parametrize("database", on("postgresql", "mysql"))
def test_a_lock_that_only_the_end_of_a_session_gives_back_is_waited_for(counter: Counter) -> None:
    found = explore(*twice(misbehaviour.keep_advisory_lock, counter))
    assert (found.verdict, found.exhaustive) == ("no race", True)


@pytest.mark.parametrize("database", on("postgresql", "mysql"))
def test_a_call_whose_connection_the_server_closes_is_told_of(counter: Counter) -> None:
    found = explore(*twice(misbehaviour.lose_connection, counter), max_schedules=4)
    assert found.verdict != "race"
    assert any("one after another A raises OperationalError" in note for note in found.notes), found.notes


@pytest.mark.parametrize("database", on("postgresql", "mysql"))
def test_a_call_that_ends_the_session_of_another_is_a_race(counter: Counter) -> None:
    assert explore(*twice(misbehaviour.end_the_session_that_locks, counter)).verdict == "race"


@pytest.mark.parametrize("database", on("postgresql", "mysql"))
def test_a_connection_that_is_closed_in_its_transaction_gives_its_locks_back(counter: Counter) -> None:
    found = explore(*twice(misbehaviour.close_in_transaction, counter))
    assert (found.verdict, found.exhaustive) == ("no race", True)


@pytest.mark.parametrize("database", on("file"))
def test_a_process_that_a_call_has_started_ends_with_it(counter: Counter) -> None:
    assert explore(*twice(misbehaviour.leave_child, counter)).verdict == "race"


@contextmanager
def transaction_of_somebody_else(counter: Counter) -> Iterator[Any]:
    """Another connection of this process that has changed the row and not said whether for good."""
    other: Any = connections[str(counter._state.db)].copy()
    other.set_autocommit(False)
    try:
        with other.cursor() as cursor:
            cursor.execute("UPDATE shop_counter SET value = 5 WHERE id = %s", [counter.pk])
        yield other.connection
    finally:
        other.rollback()
        other.close()


@pytest.mark.parametrize(
    ("database", "text"),
    [
        pytest.param(
            "file", "the one that explores, has a transaction open on it", marks=cast("Any", on("file")[0]).marks
        ),
        *[
            pytest.param(alias, r"waits for a lock that no other call holds, but session \d+ of ", marks=mark.marks)
            for alias in ("postgresql", "mysql")
            for mark in cast("list[Any]", on(alias))
        ],
    ],
)
def test_a_lock_of_somebody_else_is_told_of_and_not_waited_for(counter: Counter, text: str) -> None:
    with transaction_of_somebody_else(counter):
        found = explore(*twice(misbehaviour.write_in_transaction, counter))
    assert found.verdict == "inconclusive"
    assert re.search(text, found.reason), found.reason


@pytest.mark.parametrize("database", on("file"))
def test_a_spent_budget_of_schedules_is_no_verdict(counter: Counter) -> None:
    found = explore(*twice(misbehaviour.write_in_transaction, counter), max_schedules=2)
    assert (found.verdict, found.schedules_run) == ("inconclusive", 2)
    assert "the budget of 2 schedules is spent" in found.reason


@pytest.mark.parametrize("database", on("file"))
def test_a_spent_time_ends_a_run_in_its_middle(counter: Counter) -> None:
    found = explore(*twice(misbehaviour.sleep_between, counter), max_seconds=0.3)
    assert found.verdict == "inconclusive"
    assert "the time was over in the middle of a run" in found.reason


@pytest.mark.parametrize("database", on("file"))
def test_calls_that_always_raise_are_told_of(counter: Counter) -> None:
    found = explore((misbehaviour.raise_only, {}), (misbehaviour.raise_only, {}))
    assert found.verdict == "inconclusive"
    assert "A raises UnforeseenError: as always" in found.reason


@pytest.mark.parametrize("database", on("file"))
def test_a_database_that_is_none_of_tests_is_named(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(connections["file"].settings_dict, "NAME", "production")
        patch.setitem(connections["file"].settings_dict, "TEST", {})
        with pytest.raises(NotATestDatabaseError, match="Database 'file' is 'production'"):
            explore(*twice(misbehaviour.write_in_transaction, counter))


@pytest.mark.parametrize("database", on("file"))
def test_exploring_inside_a_transaction_is_refused_at_once(counter: Counter) -> None:
    with transaction.atomic("file"), pytest.raises(UncommittedDataError):
        explore(*twice(misbehaviour.write_in_transaction, counter))


@pytest.mark.parametrize("database", on("file"))
def test_a_call_that_cannot_be_imported_is_raised(counter: Counter) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"tests\.nowhere") as caught:
        explore(*twice(misbehaviour.write_in_transaction, counter), ("tests.nowhere:function", {}))
    assert "call 3 of 3, tests.nowhere.function() was importing the function" in "".join(caught.value.__notes__)


@pytest.mark.parametrize(("database", "anyio_backend"), taking_turns(on("postgresql", "mysql"), ["asyncio", "trio"]))
async def test_a_cancelled_exploration_leaves_nothing(
    database: str, anyio_backend: str, in_thread: ThreadOfQueries
) -> None:
    counter = await in_thread(Counter.objects.using(database).create, name="clicks")
    before = await in_thread(sessions_of, database)
    with anyio.move_on_after(1.5) as scope:
        await aexplore(*twice(misbehaviour.sleep_in_transaction, counter))
    assert scope.cancelled_caught
    await in_thread(counter.refresh_from_db)
    assert counter.value == 0
    assert await in_thread(wait_until, lambda: sessions_of(database) == before)


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
@pytest.mark.parametrize("database", on("default"))
@pytest.mark.parametrize(("prepare", "error"), [(raises.interrupt, KeyboardInterrupt), (raises.exit, SystemExit)])
def test_what_ends_a_process_before_its_call_does_not_end_the_tests(
    counter: Counter, start_method: str, prepare: Callable[[], object], error: type[BaseException]
) -> None:
    with options(prepare=prepare, start_method=start_method), pytest.raises(WrappedError, match="call 1 of 2") as info:
        explore(*twice(misbehaviour.write_in_transaction, counter))
    assert type(info.value.error) is error
    assert "was running prepare" in info.value.error.__notes__[0]


@pytest.mark.parametrize("database", on("default"))
def test_a_step_may_be_given_a_limit_of_its_own(counter: Counter) -> None:
    with options(step_timeout=0.5):
        found = explore(*twice(misbehaviour.sleep_between, counter))
    assert found.verdict == "inconclusive"
    assert "0.5 s" in found.reason


@pytest.mark.parametrize("database", on("file", "postgresql", "mysql"))
@pytest.mark.parametrize(
    "function",
    [misbehaviour.write_while_others_do, misbehaviour.insert_while_others_do],
    ids=lambda each: each.__name__,
)
def test_rows_that_somebody_else_writes_are_told_of_and_left(
    counter: Counter, database: str, function: Callable[..., Any], tmp_path: Path
) -> None:
    """Somebody writes in the middle of each call, in a process that no call started."""
    counters = Counter.objects.using(database)
    with somebody_who_writes(counters, tmp_path):
        found = explore(*[partial(function, counter.pk, database, tmp_path)] * 2)
    assert found.verdict == "inconclusive"
    assert "somebody else wrote to the database meanwhile" in found.reason
    assert "of shop_counter" in found.reason
    assert_left(counters, tmp_path)


@pytest.mark.parametrize("database", on("file", "postgresql", "mysql"))
def test_rows_of_somebody_else_are_left_when_a_run_is_given_up(counter: Counter, database: str, tmp_path: Path) -> None:
    counters = Counter.objects.using(database)
    with somebody_who_writes(counters, tmp_path, lambda: transaction_of_somebody_else(counter)):
        found = explore(
            partial(misbehaviour.write_where_others_have_locked, counter.pk, database, tmp_path),
            partial(misbehaviour.read_value, counter.pk, database),
        )
    assert found.verdict == "inconclusive"
    assert "somebody else wrote to the database meanwhile" in found.reason
    assert_left(counters, tmp_path)
    counter.refresh_from_db()
    assert counter.value == 0


@contextmanager
def somebody_who_writes(
    counters: Any, folder: Path, locking: Callable[[], AbstractContextManager[object]] = nullcontext
) -> Iterator[None]:
    """In this process, whenever a call asks in that folder; what it locks then is free when that call has ended."""
    over = folder / "over"

    def write() -> None:
        for number in range(1, 100):
            ask = folder / f"asks {number}"
            if not wait_until(lambda: ask.exists() or over.exists()) or over.exists():  # noqa: B023
                return
            counters.create(name="of somebody else", value=number)
            assert wait_until(lambda: ask.read_text() != "")  # noqa: B023
            with locking():
                (folder / f"written {number}").touch()
                assert locking is nullcontext or wait_until(lambda: not psutil.pid_exists(int(ask.read_text())))  # noqa: B023

    def write_and_close() -> None:
        try:
            write()
        finally:
            connections.close_all()

    thread = threading.Thread(target=write_and_close)
    thread.start()
    try:
        yield
    finally:
        over.touch()
        thread.join()


def assert_left(counters: Any, folder: Path) -> None:
    """All that somebody else wrote is there; take it away."""
    left = counters.filter(name="of somebody else")
    numbers = sorted(left.values_list("value", flat=True))
    left.delete()
    assert numbers
    assert numbers == list(range(1, len(list(folder.glob("written *"))) + 1))
