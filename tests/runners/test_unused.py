"""The plugin in runs that do not need it, and the package that it is imported with."""

import inspect
import subprocess
import sys
from pathlib import Path

import aioconcurrent
import aioconcurrent.exploring.orders.schedule
import aioconcurrent.sync
from tests.runners.sites import only

HEAVY = {"django", "anyio", "rich", "cloudpickle", "sqlglot", "tblib", "asyncio", "multiprocessing"}
LIMIT = 10_000  # calls of functions; it was half as many when this was written, some 8 ms
CONFTEST = """
import sys

def pytest_unconfigure():
    print("LOADED", *sorted({name.partition(".")[0] for name in sys.modules}))
    print("OURS", *sorted(name for name in sys.modules if name.startswith("aioconcurrent")))
"""
COST = """
import collections, sys, pytest
calls = collections.Counter()
sys.setprofile(lambda frame, event, argument: calls.update([event]))
import aioconcurrent.pytest_plugin
sys.setprofile(None)
print(calls["call"] + calls["c_call"])
"""


def test_a_run_without_races_loads_nothing_that_only_races_need(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    command = [sys.executable, "-m", "pytest", *only(), "--collect-only", "--rootdir", str(tmp_path)]
    text = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    loaded, ours = (line.split()[1:] for line in text.splitlines() if line.startswith(("LOADED", "OURS")))
    assert not HEAVY & set(loaded)
    assert set(ours) == {
        "aioconcurrent",
        "aioconcurrent._pytest",
        "aioconcurrent._pytest.hunt",
        "aioconcurrent._pytest.options",
        "aioconcurrent._pytest.replaying",
        "aioconcurrent._pytest.rounds",
        "aioconcurrent._pytest.sections",
        "aioconcurrent._pytest.unread",
        "aioconcurrent._text",
        "aioconcurrent.pytest_plugin",
        "aioconcurrent.results",
        "aioconcurrent.results.replaying",
        "aioconcurrent.results.unread",
        "aioconcurrent.running",
        "aioconcurrent.running.decorating",
        "aioconcurrent.running.options",
    }


def test_what_moves_the_clock_of_calls_is_not_loaded_into_the_process_of_the_test() -> None:
    program = (
        "import sys, aioconcurrent.running.race, aioconcurrent.running.explore; sys.exit('time_machine' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_loading_the_plugin_costs_some_milliseconds() -> None:
    """Counted in calls: time is the machine's."""
    command = [sys.executable, "-c", COST]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    assert int(ran.stdout) < LIMIT


def test_every_public_name_is_there_when_it_is_used() -> None:
    other = {"RecordedStep": "Step"}  # there is one kind of step, wherever it comes from
    names = aioconcurrent.sync.__all__
    for name in names:
        assert getattr(aioconcurrent, name).__name__ == other.get(name, name)
        assert getattr(aioconcurrent.sync, name).__name__ == other.get(name, name)
    assert {"explore", "Outcomes", "WrappedError", "step"} < set(names) <= set(dir(aioconcurrent))


def test_no_room_hides_the_function_of_its_name() -> None:
    assert inspect.iscoroutinefunction(aioconcurrent.explore)


def test_a_name_that_does_not_exist_is_an_error() -> None:
    assert not hasattr(aioconcurrent, "call_sequentially")
