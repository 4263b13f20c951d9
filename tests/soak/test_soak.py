"""The soak finds what is left behind, and what is not what it should be; some of it is run here."""

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connections

from aioconcurrent import CallReport, Outcomes, ProcessDiedError, WrappedError
from tests.faults.calls import SLEEPER
from tests.faults.processes import MARK
from tests.project.databases import on
from tests.soak import leftovers
from tests.soak.judge import judge, sign_of
from tests.soak.leftovers import Use, left
from tests.soak.plan import Fault, Plan, draw

SERVERS = on("postgresql", "mysql")


@pytest.fixture
def before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, database: str) -> Use:
    monkeypatch.setattr(leftovers, "PATIENCE", 0.5)
    monkeypatch.setattr(leftovers, "connections", _Only(database))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv(MARK, "soak")
    return Use.now()


class _Only:
    """The connections of this process, of which one alone is looked at."""

    def __init__(self, alias: str) -> None:
        self._alias = alias

    def __iter__(self) -> Iterator[str]:
        return iter([self._alias])

    def __getitem__(self, alias: str) -> Any:
        return connections[alias]

    def close_all(self) -> None:
        connections.close_all()


@contextmanager
def a_process() -> Iterator[None]:
    with subprocess.Popen(SLEEPER) as process:
        yield
        process.kill()


@contextmanager
def a_thread() -> Iterator[None]:
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    yield
    over.set()
    thread.join()


@contextmanager
def a_file() -> Iterator[None]:
    Path(tempfile.gettempdir(), "left").touch()
    yield


LEFT: dict[str, Callable[[], Any]] = {
    "orphans": a_process,
    "threads": a_thread,
    "files": a_file,
    "descriptors": socket.socket,
}


@pytest.mark.parametrize("database", on("postgresql"))
def test_where_nothing_is_left_nothing_is_found(before: Use) -> None:
    assert left("soak", before) == {}


@pytest.mark.parametrize("database", on("postgresql"))
@pytest.mark.parametrize("kind", LEFT)
def test_what_is_left_is_found(kind: str, before: Use) -> None:
    with LEFT[kind]():
        assert set(left("soak", before)) == {kind}


@pytest.mark.parametrize("database", SERVERS)
def test_sessions_and_locks_that_are_left_are_found(database: str, before: Use) -> None:
    connection: Any = connections[database].copy()
    with closing(connection.get_new_connection(connection.get_connection_params())) as driver:
        driver.cursor().execute("INSERT INTO shop_counter (name, value) VALUES ('left', 1)")
        found = left("soak", before)
        driver.rollback()
    assert {"sessions", "locks"} <= found.keys() <= {"sessions", "locks", "descriptors"}


@pytest.mark.parametrize("database", on("file"))
def test_a_lock_on_a_file_is_found(database: str, before: Use) -> None:
    with ExitStack() as stack:
        other: Any = connections[database].copy()
        driver = stack.enter_context(closing(other.get_new_connection(other.get_connection_params())))
        driver.execute("BEGIN IMMEDIATE")
        assert set(left("soak", before)) == {"locks", "descriptors"}
        driver.execute("ROLLBACK")


def plan_of(*faults: Fault) -> Plan:
    return Plan(7, "default", "asyncio", "fork", False, faults, "nothing", (0.1,), 30.0)


def outcomes_of(*outcomes: object) -> Outcomes:
    return Outcomes(outcomes, [CallReport("work()", None, None, None, None, "") for _ in outcomes])


KILLED, INNOCENT = Fault("kill", 0.1, 0), Fault("none", 0.1, 0)


@pytest.mark.parametrize("outcome", [sign_of(plan_of(KILLED), 0), None, WrappedError(ValueError("other"), "work()")])
def test_a_call_that_was_killed_and_does_not_say_so_is_a_lost_error(outcome: object) -> None:
    assert judge(plan_of(KILLED), outcomes_of(outcome))


def test_a_call_that_was_killed_and_says_so_is_none() -> None:
    died = ProcessDiedError("work()", 1, -9, "running", "")
    assert judge(plan_of(KILLED), outcomes_of(WrappedError(died, "work()"))) == []


@pytest.mark.parametrize(("outcome", "is_right"), [("race 7, call 0", True), ("race 7, call 1", False)])
def test_a_call_that_nothing_happens_to_has_to_return_its_own_value(outcome: str, is_right: bool) -> None:
    assert (judge(plan_of(INNOCENT), outcomes_of(outcome)) == []) is is_right


@pytest.mark.parametrize(("other", "is_right"), [(Fault("close", 0.1, 0), True), (KILLED, False)])
def test_a_file_that_is_unlocked_by_one_call_may_be_half_written_for_another(other: Fault, is_right: bool) -> None:
    died = WrappedError(ProcessDiedError("work()", 1, -9, "running", ""), "work()")
    upset = WrappedError(OperationalError("disk I/O error"), "work()")
    assert (judge(plan_of(other, INNOCENT), outcomes_of(died, upset)) == []) is is_right


def test_the_races_of_a_seed_are_the_same_each_time() -> None:
    assert [draw(3, number) for number in range(50)] == [draw(3, number) for number in range(50)]
    assert [draw(3, number) for number in range(50)] != [draw(4, number) for number in range(50)]


@pytest.mark.thorough
def test_some_of_a_soak_finds_nothing() -> None:
    command = [sys.executable, "-m", "tests.soak", "--races=1-12", "--minutes=5", "--seed=1"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO")}
    ran = subprocess.run(
        command, cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.startswith("seed 1\n")
