"""A cluster of dask as people start one: a scheduler and workers, each a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio.to_thread
import psutil
from django.db import DatabaseError, connections

from aioconcurrent.base import own_clock as time
from aioconcurrent.databases import copies
from aioconcurrent.running.cluster.workers import WorkerThread

from .test_workers import COPIES

Ask = Callable[[WorkerThread, bytes], Awaitable[bytes]]

PATIENCE = 120.0  # seconds for the workers to do what this machine waits for
_SESSIONS = {
    "postgresql": "SELECT pid FROM pg_stat_activity WHERE datname LIKE %s OR datname = %s",
    "mysql": "SELECT id FROM information_schema.processlist WHERE db LIKE %s OR db = %s",
}
_END = {"postgresql": "SELECT pg_terminate_backend(%s)", "mysql": "KILL %s"}
_MARK = "AIOCONCURRENT_TEST_CLUSTER"


@dataclass
class Cluster:
    """The processes of a cluster.

    Attributes:
        address: Of its scheduler.
        mark: What its processes have in their environment.
    """

    address: str
    mark: str
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def processes(self, name: str = "process") -> list[psutil.Process]:
        """The processes on it that make runs, or keep copies."""
        return [each for each in psutil.process_iter() if self._does(name, each)]

    def _does(self, name: str, process: psutil.Process) -> bool:
        with suppress(psutil.Error):  # it has ended, or is somebody else's
            is_ours = process.environ().get(_MARK) == self.mark
            return is_ours and any(f"aioconcurrent.running.cluster.{name}" in part for part in process.cmdline())
        return False

    def wait_until_left_alone(self) -> list[psutil.Process]:
        """Wait a while until there are no such processes; return those that there are."""
        deadline = time.monotonic() + PATIENCE
        while (found := [*self.processes(), *self.processes("keeper")]) and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    @property
    def is_whole(self) -> bool:
        """Whether none of its processes has ended."""
        return all(each.poll() is None for each in (self.scheduler, *self.workers))

    def thaw(self) -> None:
        """Let workers go on that were frozen."""
        for worker in self.workers:
            if worker.poll() is None:
                os.kill(worker.pid, signal.SIGCONT)


@contextmanager
def cluster(folder: Path, environments: Sequence[Mapping[str, str]] = ({}, {})) -> Iterator[Cluster]:
    """Have a cluster in a block; its workers are not started again when they are killed.

    Args:
        environments: What each of its workers has in its environment that this process has not.
    """
    told = folder / "scheduler.json"
    mark = str(uuid.uuid4())
    scheduler = _start(mark, "scheduler", "--port", "0", "--no-dashboard", "--no-show", "--scheduler-file", told)
    found = Cluster("", mark, scheduler)
    try:
        _wait_for(told, scheduler)
        found.address = json.loads(told.read_text(encoding="utf-8"))["address"]
        for environment in environments:
            arguments = ("worker", found.address, "--nthreads", "1", "--no-nanny", "--no-dashboard")
            found.workers.append(_start(mark, *arguments, environment=environment))
        if environments:
            _wait_for_workers(found.address, len(environments))
        yield found
    finally:
        for process in (*found.workers, scheduler):
            process.kill()
            process.wait()


def asking(ask: Ask, times: int, do: Callable[[], object], done: list[str]) -> Ask:
    """A `WorkerThread.ask` that does something before it is called so many times, and takes note of that."""
    asked: list[str] = []

    async def counted(thread: WorkerThread, message: bytes) -> bytes:
        asked.append(thread.address)
        if len(asked) == times:
            done.append(thread.address)
            await anyio.to_thread.run_sync(do)
        return await ask(thread, message)

    return counted


def _kill(found: Cluster, _: str) -> None:
    found.workers[0].kill()
    found.workers[0].wait()


def _kill_all(found: Cluster, _: str) -> None:
    for worker in found.workers:
        worker.kill()
        worker.wait()


def _kill_process(found: Cluster, _: str) -> None:
    for process in found.processes()[:1]:  # none has been started, if no worker was asked before
        process.kill()


def _end_scheduler(found: Cluster, _: str) -> None:
    found.scheduler.kill()
    found.scheduler.wait()


def _freeze(found: Cluster, _: str) -> None:
    os.kill(found.workers[0].pid, signal.SIGSTOP)


def _drop_copy(_: Cluster, database: str) -> None:
    """In any thread; where copies are files there is nothing to drop."""
    connection = connections[database].copy()
    if connection.vendor in COPIES:
        with closing(connection), connection._nodb_cursor() as cursor:
            cursor.execute(COPIES[connection.vendor], [f"{connection.settings_dict['NAME']}_aioconcurrent%"])
            copies.drop(connection, cursor, cursor.fetchall()[0][0])


def end_sessions(database: str, *, of_copies_only: bool) -> None:
    """Have the server end all sessions of a test database and its copies, as when it starts again."""
    connection = connections[database].copy()
    if connection.vendor in COPIES:
        name = connection.settings_dict["NAME"]
        with closing(connection), connection._nodb_cursor() as cursor:
            cursor.execute(_SESSIONS[connection.vendor], [f"{name}_aioconcurrent%", "" if of_copies_only else name])
            for (session,) in cursor.fetchall():
                with suppress(DatabaseError):  # it has ended by itself
                    cursor.execute(_END[connection.vendor], [session])


FAULTS: dict[str, Callable[[Cluster, str], None]] = {
    "a worker is killed": _kill,
    "all workers are killed": _kill_all,
    "a process of a worker is killed": _kill_process,
    "the scheduler is gone": _end_scheduler,
    "a worker is frozen": _freeze,
    "a copy is dropped": _drop_copy,
    "the sessions of all copies are ended": lambda _, database: end_sessions(database, of_copies_only=True),
}


def _start(mark: str, *command: object, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *map(str, command)],
        env={**os.environ, **(environment or {}), _MARK: mark, "DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "error"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _wait_for(file: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not file.exists() or not file.read_text(encoding="utf-8"):
        assert process.poll() is None, "the scheduler has ended"
        assert time.monotonic() < deadline, "the scheduler does not start"
        time.sleep(0.05)


def _wait_for_workers(address: str, count: int) -> None:
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(count, timeout=PATIENCE)
