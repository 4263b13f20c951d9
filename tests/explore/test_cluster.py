"""Workers of dask come to what one worker comes to, and whatever happens to them, nothing is left."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from aioconcurrent import ClusterError, Exploration, options
from aioconcurrent.exploring.orders.walk import Walk
from aioconcurrent.exploring.stepping.maker import Made, Maker
from aioconcurrent.running.cluster.assignment import Fingerprint
from aioconcurrent.running.cluster.workers import WorkerThread
from aioconcurrent.sync import explore
from tests.project.databases import on, thorough

from .catalogue import accounts
from .clusters import FAULTS, PATIENCE, Cluster, asking, cluster
from .test_workers import EVERYWHERE, PROGRAMS, copies_of, told

LONG = "updates in turn"
WORKERS = 2
MADE_FIRST = 2  # what a worker is asked before it makes its part of the runs
HARMLESS = ("a copy is dropped", "the sessions of all copies are ended")
# Which may show when there are no more runs to make.
MILD = ("a worker is frozen", *HARMLESS)
PLACES: list[Any] = on("default", "file", "postgresql", "mysql")
MEMORY, FILE, POSTGRESQL, MYSQL = PLACES
OTHERS = [name for name in PROGRAMS if name != LONG]


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that no test of this module harms."""
    with cluster(tmp_path_factory.mktemp("dask")) as found:
        yield found


@pytest.fixture
def fragile(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster for a test with this `fault`: one of its own, if that harms it."""
    if request.getfixturevalue("fault") in HARMLESS:
        yield request.getfixturevalue("lasting")
        return
    with cluster(tmp_path) as found:
        yield found


def most(asked: list[str]) -> int:
    """How often the worker was asked that was asked most often."""
    return max(map(asked.count, asked), default=0)


def has_company(run: Walk) -> bool:
    """Whether the search has others to make meanwhile: it is not the first, nor the one that it guesses to go wrong."""
    return bool(run.plan) and not run.guessed


def wait_here(
    monkeypatch: pytest.MonkeyPatch, until: Callable[[], object], where: Callable[[Walk], bool] = has_company
) -> None:
    """Have this machine wait for something that the workers do, before it makes such a run."""
    make = Maker.make

    async def patient(self: Maker, *args: Any, **kwargs: Any) -> Made:
        if any(isinstance(each, Walk) and where(each) for each in args):
            with anyio.fail_after(PATIENCE):
                while not until():  # noqa: ASYNC110 - nobody tells of it
                    await anyio.sleep(0.01)
        return await make(self, *args, **kwargs)

    monkeypatch.setattr(Maker, "make", patient)


def when_asked(monkeypatch: pytest.MonkeyPatch, times: int, do: Callable[[], object]) -> list[str]:
    """Do something before the workers are asked so many times; return a list that tells whether it was done."""
    done, ask = list[str](), WorkerThread.ask
    monkeypatch.setattr(WorkerThread, "ask", asking(ask, times, do, done))
    return done


def explored(name: str, database: str) -> Exploration:
    with options(max_seconds=10 * PATIENCE):  # on a busy machine
        return explore(*PROGRAMS[name].calls_at(database))


@pytest.mark.usefixtures("all_ready")
@pytest.mark.parametrize(
    ("name", "database"),
    [
        pytest.param(LONG, *MEMORY.values, marks=MEMORY.marks),
        # what happens to a cluster, below, happens on the servers
        *thorough(pytest.param(LONG, *each.values, marks=each.marks) for each in (POSTGRESQL, MYSQL)),
        *thorough(pytest.param(name, *each.values, marks=each.marks) for name in OTHERS for each in EVERYWHERE),
    ],
)
def test_workers_of_dask_come_to_what_one_comes_to(
    lasting: Cluster, monkeypatch: pytest.MonkeyPatch, asked: list[str], name: str, database: str
) -> None:
    PROGRAMS[name].rows(database)
    assert explored(name, database).verdict  # the first one of a process may make a run more, for what it imports late
    alone = explored(name, database)
    if name == LONG:
        wait_here(monkeypatch, until=lambda: most(asked) > MADE_FIRST)
    with options(workers=lasting.address):
        together = explored(name, database)
    assert told(together) == told(alone)
    assert not together.notes
    assert len(set(asked)) == WORKERS
    assert copies_of(database) == []
    assert lasting.wait_until_left_alone() == []
    if name == LONG:
        assert most(asked) > MADE_FIRST + 1, (
            "the workers made no runs but their first ones, and one each to see what has changed"
        )


@pytest.mark.usefixtures("all_ready")
@pytest.mark.parametrize("database", on("file"))
def test_orders_that_are_drawn_are_run_by_workers_as_well(
    lasting: Cluster, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    hear, drawn = Walk.hear, list[Walk]()

    def heard(self: Walk, shown: Any) -> None:
        drawn.extend([self] if self.draw is not None else [])
        hear(self, shown)

    PROGRAMS[LONG].rows(database)
    with options(strategy="sample"):
        alone = explored(LONG, database)
        monkeypatch.setattr(Walk, "hear", heard)
        wait_here(monkeypatch, until=lambda: drawn, where=lambda run: run.draw is not None)
        with options(workers=lasting.address):
            together = explored(LONG, database)
    assert told(together) == told(alone)
    assert not together.notes
    assert drawn


@pytest.mark.usefixtures("all_ready")
@pytest.mark.parametrize("database", on("file"))
def test_the_client_of_a_local_cluster_is_as_good_as_an_address_and_stays_open(
    monkeypatch: pytest.MonkeyPatch, asked: list[str], database: str
) -> None:
    from distributed import Client, LocalCluster

    PROGRAMS[LONG].rows(database)
    alone = explored(LONG, database)
    with (
        LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=":0") as local,
        Client(local, set_as_default=False) as client,
    ):
        wait_here(monkeypatch, until=lambda: most(asked) > MADE_FIRST)
        with options(workers=client):
            together = explored(LONG, database)
        assert client.status == "running"
    assert told(together) == told(alone)
    assert not together.notes
    assert len(set(asked)) == WORKERS
    assert most(asked) > MADE_FIRST + 1


@pytest.mark.parametrize("database", on("file"))
def test_a_client_that_is_closed_is_an_error(lasting: Cluster, database: str) -> None:
    from distributed import Client

    accounts(database)
    with Client(lasting.address, set_as_default=False) as client:
        pass
    with options(workers=client), pytest.raises(ClusterError, match="the client of dask: it is closed"):
        explored("lost update", database)


@pytest.mark.parametrize("database", on("file"))
def test_another_version_is_an_error_that_names_both(
    lasting: Cluster, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    here = Fingerprint.capture()
    other = replace(here, versions={**here.versions, "Django": "1.0"})
    monkeypatch.setattr(Fingerprint, "capture", lambda: other)
    accounts(database)
    with options(workers=lasting.address), pytest.raises(ClusterError) as raised:
        explored("lost update", database)
    assert f"it has Django {here.versions['Django']}, and the test 1.0" in str(raised.value)
    assert "worker tcp://" in str(raised.value)
    assert lasting.wait_until_left_alone() == []


@pytest.mark.parametrize("database", on("file"))
def test_where_there_is_no_scheduler_an_error_says_so(monkeypatch: pytest.MonkeyPatch, database: str) -> None:
    accounts(database)
    monkeypatch.setattr("aioconcurrent.running.cluster.workers._CONNECTING", 0.5)
    with options(workers="tcp://127.0.0.1:1"), pytest.raises(ClusterError, match=r"127.0.0.1:1: it cannot be reached"):
        explored("lost update", database)


@pytest.mark.parametrize("database", on("file"))
def test_where_dask_is_not_installed_an_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    accounts(database)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        options(workers="tcp://127.0.0.1:1"),
        pytest.raises(ClusterError, match=r"pip install 'aioconcurrent\[dask\]'"),
    ):
        explored("lost update", database)


@pytest.mark.parametrize("database", on("file"))
def test_where_there_are_no_workers_an_error_says_so(tmp_path: Path, database: str) -> None:
    accounts(database)
    with (
        cluster(tmp_path, []) as found,
        options(workers=found.address),
        pytest.raises(ClusterError, match="it has no workers"),
    ):
        explored("lost update", database)


@pytest.mark.parametrize(
    ("fault", "times", "database"),
    [
        pytest.param(fault, times, *each.values, marks=each.marks)
        for fault, times, each in (
            ("a worker is killed", 4, POSTGRESQL),
            ("the scheduler is gone", 4, FILE),
            ("a copy is dropped", 4, MYSQL),
        )
    ]
    + thorough(
        pytest.param(fault, times, *each.values, marks=each.marks)
        for number, fault in enumerate(FAULTS)
        for times in (3, 4)
        for each in EVERYWHERE[1 - number % 2 :: 2]
    ),
)
def test_whatever_happens_to_the_cluster_costs_its_runs_only(
    fragile: Cluster, monkeypatch: pytest.MonkeyPatch, fault: str, times: int, database: str
) -> None:
    PROGRAMS[LONG].rows(database)
    alone = explored(LONG, database)
    happened = when_asked(monkeypatch, times, lambda: FAULTS[fault](fragile, database))
    wait_here(monkeypatch, until=lambda: happened)
    with options(workers=fragile.address):
        together = explored(LONG, database)
    assert happened, "the workers were not asked so often"
    assert (together.verdict, together.schedules_run) == (alone.verdict, alone.schedules_run)
    is_told = any("no more runs were made on tcp://" in note for note in together.notes)
    assert is_told or fault in (*MILD, "a worker is killed")  # which may never be asked again
    assert copies_of(database) == []
    fragile.thaw()
    assert fragile.wait_until_left_alone() == []


@pytest.mark.parametrize("database", on("postgresql"))
def test_nothing_is_left_of_an_exploration_that_is_interrupted(
    lasting: Cluster, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    PROGRAMS[LONG].rows(database)
    happened = when_asked(monkeypatch, 4, lambda: os.kill(os.getpid(), signal.SIGINT))
    wait_here(monkeypatch, until=lambda: happened)
    with options(workers=lasting.address), pytest.raises(KeyboardInterrupt):
        explored(LONG, database)
    assert copies_of(database) == []
    assert lasting.wait_until_left_alone() == []
