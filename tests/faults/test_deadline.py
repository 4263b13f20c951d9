"""Calls past their deadline, which end whatever they do, while the others keep their values."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from aioconcurrent import Outcomes, TerminatedProcessError, call_concurrently, make_concurrent_calls, options, sync
from aioconcurrent.running.options import Options
from tests.faults import calls
from tests.faults.processes import left_of, signed_in
from tests.faults.races import leaving_nothing, run_race

LATE = [calls.sign_in_and_stay, calls.ignore_termination, calls.stay_deaf, calls.stay_with_children]


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the calls of the race sign in, and their children."""
    return tmp_path_factory.mktemp("signed-in")


@pytest.fixture(scope="module")
def race(way: tuple[str, str], signed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    """One race of calls that never end, and an innocent one."""
    start_method, backend = way
    late = [(function, {"folder": signed}) for function in LATE]
    with leaving_nothing(tmp_path_factory.mktemp("temporary")):
        with options(start_method=start_method, timeout=1):
            outcomes = run_race(backend, *late, (calls.answer, {}))
        yield outcomes


def test_a_call_past_its_deadline_is_an_error_that_names_it_and_the_fix(race: Outcomes) -> None:
    for number, (function, wrapped, report) in enumerate(zip(LATE, race, race.reports, strict=False), 1):
        assert isinstance(wrapped.error, TerminatedProcessError)
        text = str(wrapped.error)
        assert f"call {number} of 5, tests.faults.calls.{function.__name__}(folder=<" in text
        assert f"(process {report.pid}) was still running after 1 s" in text
        assert "options(timeout=...)" in text


def test_a_call_beside_late_ones_keeps_its_value(race: Outcomes) -> None:
    assert race[-1] == 42


def test_a_late_call_is_asked_to_end_before_it_is_killed(race: Outcomes) -> None:
    assert [report.exit_status for report in race.reports] == [-15, -9, -9, -15, 0]


def test_late_calls_and_their_children_are_dead(race: Outcomes, signed: Path) -> None:
    pids = signed_in(signed)
    assert {report.pid for report in race.reports[:4]} < set(pids)
    assert len(pids) >= 6
    assert not left_of(pids)


async def test_a_coroutine_past_its_deadline_is_an_error_too(folder: Path) -> None:
    with options(timeout=0.2):
        [wrapped] = (await call_concurrently(1, calls.sign_in_and_stay_in_coroutine, folder)).errors
    assert isinstance(wrapped.error, TerminatedProcessError)
    assert "was still running after 0.2 s" in str(wrapped)
    assert not left_of(signed_in(folder))


async def test_a_call_that_is_never_ready_ends_too(
    start_method: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Options, "start_up", 0.5)
    start_timeout = {"fork": 120.0, "spawn": 0.5}[start_method]  # the template of the forks is to start as ever
    with options(prepare=partial(calls.sign_in_and_stay, folder), start_timeout=start_timeout):
        [wrapped] = await call_concurrently(1, calls.answer)
    assert isinstance(wrapped.error, TerminatedProcessError)
    assert "call 1 of 1, tests.faults.calls.answer()" in str(wrapped)
    limit = {"fork": 0.5, "spawn": 1.5}[start_method]  # an interpreter of its own has a second more
    assert f"was still starting after {limit} s" in str(wrapped)
    assert "options(start_timeout=..., timeout=...)" in str(wrapped)
    assert not left_of(signed_in(folder))


async def test_calls_that_are_ready_run_without_one_that_never_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Options, "start_up", 2.0)
    with options(prepare=partial(calls.let_first_pass, folder)):
        outcomes = await make_concurrent_calls((calls.answer, {}), (calls.answer, {}))
    assert outcomes.values == [42]
    assert "was still starting after 2 s" in str(outcomes.errors[0])
    assert not left_of(signed_in(folder))


def test_the_time_of_a_call_begins_at_the_common_start(folder: Path) -> None:
    with options(timeout=0.5, prepare=partial(calls.pause, 1.0)):
        outcomes = sync.call_concurrently(2, calls.answer)
    assert outcomes == [42, 42]
