"""Calls whose processes die: before the barrier, while they run, and when they are done."""

import signal
from functools import partial
from pathlib import Path

import pytest

from aioconcurrent import CallReport, Outcomes, ProcessDiedError, make_concurrent_calls, options
from tests.faults import calls
from tests.faults.processes import left_of, signed_in
from tests.faults.races import leaving_nothing, run_race

DYING = {
    "exited with status 3": (calls.exit_with, {"status": 3}),
    "exited with status 0": (calls.exit_with, {"status": 0}),
    "was killed by SIGKILL": (calls.die_of, {"number": signal.SIGKILL}),
    "was killed by SIGSEGV": (calls.die_of, {"number": signal.SIGSEGV}),
}
OTHERS = {
    "killed after its result": (calls.die_after_result, {"number": signal.SIGKILL}),
    "crashed after its result": (calls.die_after_result, {"number": signal.SIGSEGV}),
    "last words": (calls.say_and_die, {}),
    "child": (calls.start_sleeper, {}),
    "forked child": (calls.fork_sleeper, {}),
    "fork that returns too": (calls.return_twice, {}),
    "thread": (calls.start_endless_thread, {}),
    "innocent": (calls.answer, {}),
}
NAMES = [*DYING, *OTHERS]


@pytest.fixture(scope="module")
def race(way: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """One race of all these calls."""
    start_method, backend = way
    with leaving_nothing(tmp_path_factory.mktemp("temporary")), options(start_method=start_method):
        return run_race(backend, *DYING.values(), *OTHERS.values())


def of(race: Outcomes, name: str) -> tuple[object, CallReport]:
    return race[NAMES.index(name)], race.reports[NAMES.index(name)]


@pytest.mark.parametrize("ending", DYING)
def test_the_error_of_a_call_that_died_says_which_and_how(race: Outcomes, ending: str) -> None:
    outcome, report = of(race, ending)
    error = getattr(outcome, "error", None)
    assert isinstance(error, ProcessDiedError)
    assert f"call {NAMES.index(ending) + 1} of {len(NAMES)}, tests.faults.calls." in str(error)
    assert f"(process {report.pid}) {ending} while running, so there is no result" in str(error)


def test_a_call_beside_dying_ones_keeps_its_value(race: Outcomes) -> None:
    outcome, report = of(race, "innocent")
    assert (outcome, report.exit_status) == (42, 0)


def test_the_report_of_a_call_that_died_has_its_exit_status(race: Outcomes) -> None:
    assert [report.exit_status for report in race.reports[: len(DYING)]] == [3, 0, -signal.SIGKILL, -signal.SIGSEGV]


def test_the_error_of_a_call_that_died_tells_its_last_words(race: Outcomes) -> None:
    assert "the disk is on fire" in str(of(race, "last words")[0])


def test_the_error_of_a_call_that_died_tells_the_likely_cause(race: Outcomes) -> None:
    assert "os._exit()" in str(of(race, "exited with status 3")[0])
    assert "out of memory" in str(of(race, "was killed by SIGKILL")[0])


@pytest.mark.parametrize(
    ("name", "number"),
    [("killed after its result", signal.SIGKILL), ("crashed after its result", signal.SIGSEGV)],
)
def test_a_value_is_kept_if_its_process_is_killed_afterwards(race: Outcomes, name: str, number: signal.Signals) -> None:
    outcome, report = of(race, name)
    assert (outcome, report.exit_status) == (42, -number)


@pytest.mark.parametrize("name", ["child", "forked child", "fork that returns too"])
def test_a_child_of_a_call_is_dead_after_the_race(race: Outcomes, name: str) -> None:
    pid, report = of(race, name)
    assert isinstance(pid, int)
    assert pid > 0, "the copy that returned too has given the result"
    assert report.exit_status == 0
    assert not left_of([pid])


def test_a_thread_that_never_ends_does_not_keep_its_process(race: Outcomes) -> None:
    outcome, report = of(race, "thread")
    assert (outcome, report.exit_status) == ("returned", 0)


def test_every_process_is_dead_after_the_race(race: Outcomes) -> None:
    assert not left_of([report.pid for report in race.reports if report.pid], 0)


async def test_a_death_before_the_barrier_is_an_error_and_holds_up_nobody(start_method: str, folder: Path) -> None:
    deaths = [signal.SIGKILL, signal.SIGSEGV]
    with options(prepare=partial(calls.die_in_turn, folder, deaths)):
        outcomes = await make_concurrent_calls((calls.answer, {}), (calls.answer, {}), (calls.answer, {}))
    assert outcomes.values == [42]
    assert {report.exit_status for report in outcomes.reports} == {0, -signal.SIGKILL, -signal.SIGSEGV}
    for wrapped, report in zip(outcomes, outcomes.reports, strict=True):
        if report.exit_status:
            assert isinstance(wrapped.error, ProcessDiedError)
            assert f"was killed by {signal.Signals(-report.exit_status).name} while starting" in str(wrapped)
            assert f"{report.call} (process {report.pid})" in str(wrapped)
            assert report.started is None


async def test_a_call_that_is_terminated_because_it_fell_silent_is_told_so(start_method: str) -> None:
    outcome, value = await make_concurrent_calls((calls.fall_silent, {}), (calls.answer, {}))
    assert isinstance(outcome.error, ProcessDiedError)
    assert "closed the stream over which it is heard and was therefore terminated while running" in str(outcome)
    assert "SIGTERM" not in str(outcome)
    assert value == 42


async def test_where_every_call_dies_before_the_barrier_the_race_is_over() -> None:
    with options(start_method="fork", prepare=calls.die_at_once):
        outcomes = await make_concurrent_calls((calls.answer, {}), (calls.answer, {}))
    assert len(outcomes.errors) == 2
    assert all("exited with status 5 while starting" in str(wrapped) for wrapped in outcomes.errors)


@pytest.mark.filterwarnings("ignore::aioconcurrent.TemplateWarning")
async def test_a_module_that_ends_its_process_at_import_fails_its_call_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "ends_at_import.py").write_text("import os; os._exit(5)")
    monkeypatch.syspath_prepend(folder)
    with options(start_method="fork"):
        outcomes = await make_concurrent_calls(("ends_at_import:function", {}), (calls.answer, {}))
    assert isinstance(outcomes[0].error, ProcessDiedError)
    assert "call 1 of 2, ends_at_import.function()" in str(outcomes[0].error)
    assert "exited with status 5 while starting" in str(outcomes[0].error)
    assert outcomes[1] == 42


async def test_children_of_a_call_that_died_are_dead_after_the_race(start_method: str, folder: Path) -> None:
    outcomes = await make_concurrent_calls((calls.have_children_and_die, (folder,), {}))
    assert "exited with status 3" in str(outcomes[0])
    assert len(signed_in(folder)) == 2
    assert not left_of(signed_in(folder))


@pytest.mark.parametrize("end", ["return", "die"])
async def test_a_child_that_left_the_process_group_is_dead_after_the_race(
    start_method: str, folder: Path, end: str
) -> None:
    outcomes = await make_concurrent_calls((calls.leave_sleeper, (folder, end), {}), (calls.answer, {}))
    assert outcomes[1] == 42
    assert len(outcomes.errors) == (end == "die")
    assert outcomes.reports[0].exit_status == {"return": 0, "die": -signal.SIGKILL}[end]
    assert len(signed_in(folder)) == 1
    assert not left_of(signed_in(folder))


async def test_a_child_that_left_the_process_group_with_all_descriptors_keeps_nothing_open(start_method: str) -> None:
    outcomes = await make_concurrent_calls((calls.fork_sleeper, {"new_session": True}))
    outcomes.raise_errors()
    assert outcomes.reports[0].exit_status == 0
    assert not left_of(outcomes.values)


async def test_the_report_of_a_call_has_the_process_that_the_call_is_in(start_method: str) -> None:
    outcomes = await make_concurrent_calls((calls.get_pids, {}))
    assert outcomes.reports[0].pid == outcomes.values[0][0]
