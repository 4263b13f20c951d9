"""Many calls at once, and many races in a row."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from aioconcurrent.sync import make_concurrent_calls, options
from tests.faults import calls
from tests.faults.endurance import Use
from tests.faults.projects import Project
from tests.faults.races import run_race
from tests.project.databases import thorough
from tests.project.scripts import output_of

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


# In a process of its own: in one that has run other tests memory is what they have left of it.
MANY_RACES = """
import json
import django
django.setup()
from dataclasses import asdict
from aioconcurrent.sync import options
from tests.faults.endurance import Use, race
with options(start_method="fork"):
    race(100)
    before = Use.now()
    race({more})
    after = Use.now()
print(json.dumps([asdict(before), asdict(after)]))
"""


@pytest.mark.parametrize("more", [100, *thorough([pytest.param(900)])])
def test_many_races_use_no_more_than_a_hundred(more: int, tmp_path: Path) -> None:
    told = output_of(MANY_RACES.replace("{more}", str(more)), tmp_path, DJANGO_SETTINGS_MODULE="tests.project.settings")
    before, after = (Use(**use) for use in json.loads(told))
    assert after.forks <= before.forks
    assert after.descriptors <= before.descriptors
    assert after.template_descriptors <= before.template_descriptors
    assert after.threads == before.threads == 1
    assert after.memory - before.memory < 2 * MEGABYTE
    assert after.template_memory - before.template_memory < 2 * MEGABYTE
