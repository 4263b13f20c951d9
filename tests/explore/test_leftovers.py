"""After exploring, however it ended, the database is as before and nothing of ours is left."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

import aioconcurrent
from aioconcurrent.sync import Outcomes, explore
from tests.databases.conftest import content, fetch
from tests.faults.processes import left_of, signed_in, wait_until
from tests.project.databases import ThreadOfQueries, on, thorough
from tests.project.shop import kinds
from tests.project.shop.models import Counter, Show, Ticket

SESSIONS = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()",
    "mysql": "SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE()",
}
Look = Callable[[], dict[str, Any]]
# What is put back is the database's affair, and how exploring ends is not: the endings take turns.
ONE_HALF = pytest.mark.parametrize("database", [*on("default", "postgresql"), *thorough(on("file", "mysql"))])
OTHER_HALF = pytest.mark.parametrize("database", [*on("file", "mysql"), *thorough(on("default", "postgresql"))])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where wrappers sign in; temporary files are made beside it."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "wrappers").mkdir()
    return tmp_path / "wrappers"


@pytest.fixture
def look(database: str, folder: Path) -> Iterator[Look]:
    """Fill the database, and look at all that there is of it."""
    Counter.objects.using(database).bulk_create([Counter(name="clicks", value=5), Counter(name="other", value=7)])
    show = Show.objects.using(database).create(title="Hamlet", seats_left=3)
    Ticket.objects.using(database).create(show=show, buyer="bob")

    def look_now() -> dict[str, Any]:
        found = content(database)
        if database in SESSIONS:
            found["sessions"] = fetch(database, SESSIONS[database])
        return found

    before = look_now()
    yield look_now
    wait_until(lambda: look_now() == before, 5)  # a server ends a session a moment after it was closed
    assert look_now() == before
    assert not left_of(signed_in(folder))
    assert signed_in(folder)
    assert not list((folder.parent / "temporary").iterdir())


def calls(database: str, folder: Path, function: object = kinds.churn) -> list[tuple[object, dict[str, object]]]:
    return [(function, {"using": database, "folder": folder})] * 2


def test_nothing_is_left_of_a_race(database: str, folder: Path, look: Look) -> None:
    assert explore(*calls(database, folder)).verdict == "race"


@ONE_HALF
def test_nothing_is_left_where_there_is_no_race(database: str, folder: Path, look: Look) -> None:
    assert explore(*calls(database, folder, kinds.churn_locked)).verdict == "no race"


@OTHER_HALF
def test_nothing_is_left_when_a_rule_raises(database: str, folder: Path, look: Look) -> None:
    def breaks(outcomes: Outcomes) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        explore(*calls(database, folder), check=breaks)


@ONE_HALF
def test_nothing_is_left_when_somebody_interrupts(database: str, folder: Path, look: Look) -> None:
    def interrupt(outcomes: Outcomes) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        explore(*calls(database, folder), check=interrupt)


@pytest.mark.parametrize("database", on("file", "postgresql", "mysql"))
async def test_nothing_is_left_of_what_was_cancelled(
    database: str, folder: Path, look: Look, in_thread: ThreadOfQueries
) -> None:
    with anyio.CancelScope() as scope:

        async def cancel(outcomes: Outcomes) -> None:
            scope.cancel()

        await aioconcurrent.explore(*calls(database, folder), check=cancel)
    assert scope.cancelled_caught


@pytest.mark.parametrize("database", on("postgresql"))
@pytest.mark.parametrize("seconds", [0.05, 0.2])
def test_nothing_is_left_of_what_took_too_long(seconds: float, database: str, folder: Path, look: Look) -> None:
    explore(*calls(database, folder, kinds.churn_locked)).assert_no_race()  # so that somebody has signed in

    async def explore_for_a_moment() -> None:
        with anyio.move_on_after(seconds):
            while True:
                await aioconcurrent.explore(*calls(database, folder))

    anyio.run(explore_for_a_moment)
