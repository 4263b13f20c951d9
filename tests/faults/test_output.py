"""Calls that print without end, close what they print to, or return a lot."""

import warnings
from pathlib import Path

import pytest

from aioconcurrent import CallReport, Outcomes, ProcessDiedError, options, sync
from aioconcurrent.sync import call_concurrently
from tests.faults import calls, raises
from tests.faults.projects import Project
from tests.faults.races import leaving_nothing, run_race

NAMES = ["flood", "much", "closed", "innocent"]


@pytest.fixture(scope="module")
def megabytes(way: tuple[str, str]) -> int:
    """How much: all of it once for each start method and once for each event loop."""
    return 300 if way in (("fork", "asyncio"), ("spawn", "trio")) else 30


@pytest.fixture(scope="module")
def race(way: tuple[str, str], megabytes: int, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """One race of calls that print and return that much, and others, whose output goes to the test's stdout."""
    start_method, backend = way
    with leaving_nothing(tmp_path_factory.mktemp("temporary")), options(start_method=start_method):
        outcomes = run_race(
            backend,
            (calls.flood, {"megabytes": megabytes * 2 // 3}),
            (calls.make_bytes, {"megabytes": megabytes}),
            (calls.close_standard_descriptors, {}),
            (calls.print_and_answer, {}),
        )
    outcomes.raise_errors()
    return outcomes


def of(race: Outcomes, name: str) -> tuple[object, CallReport]:
    return race[NAMES.index(name)], race.reports[NAMES.index(name)]


def test_a_call_that_prints_hundreds_of_megabytes_keeps_its_value(race: Outcomes) -> None:
    outcome, report = of(race, "flood")
    assert (outcome, report.exit_status) == ("returned", 0)


def test_of_a_flood_the_beginning_and_the_end_are_kept(race: Outcomes) -> None:
    _, report = of(race, "flood")
    assert report.output.startswith("first words")
    assert report.output.endswith("last words\n")
    assert "bytes of output left out" in report.output
    assert len(report.output) < 1024 * 1024


def test_a_value_of_hundreds_of_megabytes_comes_home_whole(race: Outcomes, megabytes: int) -> None:
    value, report = of(race, "much")
    assert isinstance(value, bytes)
    assert value.count(b"x") == len(value) == megabytes * 1024 * 1024
    assert report.exit_status == 0


def test_a_call_that_closes_its_standard_descriptors_keeps_its_value(race: Outcomes) -> None:
    outcome, report = of(race, "closed")
    assert (outcome, report.exit_status) == ("returned", 0)


def test_a_call_beside_a_flood_keeps_its_value_and_its_output_apart(race: Outcomes) -> None:
    outcome, report = of(race, "innocent")
    assert (outcome, report.output) == (42, "out\nerr\n")


def test_a_call_reads_nothing_from_its_standard_input(start_method: str) -> None:
    assert call_concurrently(1, calls.read_standard_input) == [""]


def test_what_a_call_writes_in_bytes_or_through_a_child_is_its_output(
    start_method: str, capfd: pytest.CaptureFixture[str]
) -> None:
    outcomes = call_concurrently(1, calls.print_in_every_way)
    outcomes.raise_errors()
    lines = ["print", "stderr", "descriptor 1 \ufffd", "descriptor 2", "child"]
    assert outcomes.reports[0].output.splitlines() == lines
    assert capfd.readouterr().out.splitlines() == lines


def test_output_that_the_callers_stdout_cannot_show_loses_no_value(start_method: str, tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("site_app/unicode.py", "def greet():\n    print('gr\u00fc\u00df dich')\n    return 42\n")
    values = project.run(
        """
        import json, sys
        from aioconcurrent.sync import call_concurrently
        sys.stdout.reconfigure(encoding="ascii")
        print(json.dumps(list(call_concurrently(2, "site_app.unicode:greet"))))
        """
    )
    assert values == [42, 42]
    assert "dich" in project.printed[0]


def test_logs_and_warnings_that_cannot_be_rebuilt_lose_no_value(
    start_method: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.warns(Warning, match="7: sold out"):
        assert call_concurrently(1, raises.log_and_warn) == ["returned"]
    assert [record.getMessage() for record in caplog.records] == ["sold out"]


def test_of_a_storm_of_logs_and_warnings_the_beginning_and_the_end_are_kept(
    start_method: str, caplog: pytest.LogCaptureFixture
) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert call_concurrently(1, raises.log_and_warn_much, 5000) == ["returned"]
    logged = [int(record.getMessage().split()[0]) for record in caplog.records]
    said = [str(warning.message) for warning in warned if warning.category is RuntimeWarning]
    kept = len(logged) + len([warning for warning in warned if warning.category is UserWarning])
    assert (logged[0], logged[-1]) == (0, 4999)
    assert 2000 < kept < 5000
    call = "call 1 of 1, tests.faults.raises.log_and_warn_much(5000)"
    assert said == [f"{10_000 - kept:,} log records and warnings of {call}, in the middle, are left out."]


def test_a_call_that_closes_every_descriptor_is_told_so() -> None:
    with options(start_method="fork"):
        wrapped, value = sync.make_concurrent_calls((calls.close_every_descriptor, {}), (calls.answer, {}))
    assert isinstance(wrapped.error, ProcessDiedError)
    assert "call 1 of 2, tests.faults.calls.close_every_descriptor()" in str(wrapped.error)
    assert "closed the descriptors that this library talks through" in str(wrapped.error)
    assert value == 42
