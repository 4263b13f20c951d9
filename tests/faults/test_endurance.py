"""Many calls at once, and many races in a row."""

import gc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from aioconcurrent.sync import call_concurrently, make_concurrent_calls, options
from tests.faults import calls
from tests.faults.processes import started_here, wait_until
from tests.faults.projects import Project
from tests.faults.races import run_race

MEGABYTE = 1024 * 1024


@pytest.fixture(autouse=True)
def forking() -> Iterator[None]:
    with options(start_method="fork"):
        yield


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_200_calls_at_once_are_200_processes(backend: str) -> None:
    outcomes = run_race(backend, *((calls.tell_pid, {"value": number}) for number in range(200)))
    outcomes.raise_errors()
    assert [value for value, _ in outcomes.values] == list(range(200))
    assert len({pid for _, pid in outcomes.values}) == 200


def test_200_calls_that_die_are_200_errors() -> None:
    outcomes = make_concurrent_calls(*((calls.exit_with, (number % 100,), {}) for number in range(200)))
    assert [report.exit_status for report in outcomes.reports] == [number % 100 for number in range(200)]
    assert len(outcomes.errors) == 200


def test_more_calls_than_there_are_descriptors_for_fail_with_that_error(tmp_path: Path) -> None:
    project = Project(tmp_path)
    told = project.run(
        """
        import json, os, resource
        from aioconcurrent.sync import call_concurrently, options
        call = "site_app.calls:answer"
        call_concurrently(1, call)
        before = len(os.listdir("/proc/self/fd"))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        told = []
        for start_method in ("fork", "spawn"):
            resource.setrlimit(resource.RLIMIT_NOFILE, (40, hard))
            try:
                with options(start_method=start_method):
                    call_concurrently(50, call)
            except OSError as error:
                told.append(str(error))
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        told += call_concurrently(2, call)
        print(json.dumps([*told, len(os.listdir("/proc/self/fd")) - before]))
        """
    )
    assert told == ["[Errno 24] Too many open files", "[Errno 24] Too many open files", 42, 42, 0]


@dataclass(frozen=True)
class Use:
    """What this process and its template have in use."""

    processes: int
    descriptors: int
    template_descriptors: int
    threads: int
    memory: int
    template_memory: int

    @classmethod
    def now(cls) -> "Use":
        [(_, pid)] = call_concurrently(1, calls.get_pids).values
        here, template = psutil.Process(), psutil.Process(pid)
        gc.collect()
        return cls(
            processes=len(started_here()),
            descriptors=here.num_fds(),
            template_descriptors=template.num_fds(),
            threads=template.num_threads(),
            memory=here.memory_info().rss,
            template_memory=template.memory_info().rss,
        )


def test_a_thousand_races_use_no_more_than_a_hundred(tmp_path: Path) -> None:
    race(100)
    before = Use.now()
    race(900)
    assert wait_until(lambda: Use.now().processes <= before.processes, 5)
    after = Use.now()
    assert after.descriptors <= before.descriptors
    assert after.template_descriptors <= before.template_descriptors
    assert after.threads == before.threads == 1
    assert after.memory - before.memory < 2 * MEGABYTE
    assert after.template_memory - before.template_memory < 2 * MEGABYTE


def race(times: int) -> None:
    """Race, each time in a new event loop, with every other call failing."""
    for number in range(times):
        outcomes = run_race(("asyncio", "trio")[number % 2], (calls.answer_or_raise, {"value": number}))
        assert [outcomes.reports[0].exit_status, len(outcomes.values)] == [0, 1 - number // 2 % 2]
