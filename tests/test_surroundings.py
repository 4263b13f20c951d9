"""What else comes along with a call, and what comes back besides its result."""

import logging
import os
import sys
import time
import warnings
from pathlib import Path

import pytest

from aioconcurrent.engine.fork import close_template
from aioconcurrent.sync import call_concurrently, make_concurrent_calls, override_environment
from tests.project import noisy

pytest_plugins = ["tests.project.start_methods"]
both_start_methods = pytest.mark.usefixtures("start_method")


@both_start_methods
def test_the_environment_is_that_of_the_moment() -> None:
    with override_environment(SHOP="open"):
        assert list(call_concurrently(1, os.getenv, "SHOP")) == ["open"]
    assert list(call_concurrently(1, os.getenv, "SHOP")) == [None]


def test_an_environment_variable_can_be_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP", "open")
    assert list(call_concurrently(1, os.getenv, "SHOP")) == ["open"]
    with override_environment(SHOP=None):
        assert list(call_concurrently(1, os.getenv, "SHOP")) == [None]


@both_start_methods
def test_the_pid_of_the_parent_is_told() -> None:
    assert list(call_concurrently(1, os.getenv, "AIOCONCURRENT_PARENT_PID")) == [str(os.getpid())]
    assert "AIOCONCURRENT_PARENT_PID" not in os.environ


@both_start_methods
def test_the_working_directory_is_that_of_the_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.getcwd()
    assert list(call_concurrently(1, os.getcwd)) == [before]
    monkeypatch.chdir(tmp_path)
    assert list(call_concurrently(1, os.getcwd)) == [str(tmp_path)]


@both_start_methods
def test_the_import_path_is_that_of_the_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call_concurrently(1, os.getcwd).raise_errors()
    (tmp_path / "new_shop.py").write_text("def greet():\n    return 'hello'\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert list(call_concurrently(1, "new_shop:greet")) == ["hello"]
    assert list(call_concurrently(1, lambda: sys.path)) == [sys.path]


@both_start_methods
def test_the_arguments_of_the_program_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["manage.py", "test"])
    assert list(call_concurrently(1, lambda: sys.argv)) == [["manage.py", "test"]]


@both_start_methods
def test_the_environment_is_the_callers_even_where_starting_the_project_changes_it() -> None:
    close_template()
    with override_environment(TZ="Asia/Tokyo"):  # which Django sets from the setting TIME_ZONE
        assert list(call_concurrently(1, lambda: (os.environ["TZ"], time.strftime("%z")))) == [("Asia/Tokyo", "+0900")]
        assert list(call_concurrently(1, os.getenv, "TZ")) == ["Asia/Tokyo"]


@both_start_methods
def test_log_records_come_back_as_they_were_made(caplog: pytest.LogCaptureFixture) -> None:
    outcomes = call_concurrently(1, noisy.log, logging.WARNING, "sold %d of %s", 3, "seats")
    [record] = [record for record in caplog.records if record.name == "tests.project.noisy"]
    assert (record.levelname, record.getMessage()) == ("WARNING", "sold 3 of seats")
    assert (record.msg, record.args) == ("sold %d of %s", (3, "seats"))
    assert (record.funcName, record.process) == ("log", outcomes.reports[0].pid)
    assert vars(record)["order"] == 7


def test_log_records_have_the_number_of_their_call(caplog: pytest.LogCaptureFixture) -> None:
    make_concurrent_calls(
        (noisy.log, (logging.WARNING, "from the first"), {}), (noisy.log, (logging.WARNING, "from the second"), {})
    ).raise_errors()
    marked = {record.getMessage(): vars(record)["concurrent_call"] for record in caplog.records}
    assert marked == {"from the first": 1, "from the second": 2}


def test_log_records_of_all_calls_come_in_the_order_of_their_making(caplog: pytest.LogCaptureFixture) -> None:
    call_concurrently(3, noisy.log, logging.WARNING, "sold").raise_errors()
    assert len(caplog.records) == 3
    assert caplog.records == sorted(caplog.records, key=lambda record: record.created)


@both_start_methods
def test_the_levels_of_caplog_hold_in_the_calls(caplog: pytest.LogCaptureFixture) -> None:
    assert list(call_concurrently(1, noisy.log, logging.INFO, "too low")) == [False]
    with caplog.at_level(logging.INFO, logger="tests.project.noisy"):
        assert list(call_concurrently(1, noisy.log, logging.INFO, "high enough")) == [True]
    with caplog.at_level(logging.ERROR):
        assert list(call_concurrently(1, noisy.log, logging.WARNING, "too low again")) == [False]
    assert caplog.messages == ["high enough"]


def test_a_traceback_that_is_logged_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    call_concurrently(1, noisy.log_error).raise_errors()
    assert caplog.messages == ["no number"]
    assert "ValueError: invalid literal for int()" in caplog.text


def test_a_logger_that_does_not_propagate_is_heard_by_its_own_handlers(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("tests.quiet")
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    call_concurrently(1, noisy.log_to, "tests.quiet").raise_errors()
    assert caplog.messages == ["to tests.quiet"]


@both_start_methods
def test_warnings_come_back() -> None:
    with pytest.warns(noisy.ShopWarning, match="^few seats$") as caught:
        outcomes = call_concurrently(2, noisy.warn, "few seats")
    assert list(outcomes) == ["went on", "went on"]
    assert [Path(warning.filename).name for warning in caught] == ["noisy.py", "noisy.py"]


def test_warnings_come_back_to_recwarn(recwarn: pytest.WarningsRecorder) -> None:
    call_concurrently(1, noisy.warn, "few seats").raise_errors()
    assert str(recwarn.pop(noisy.ShopWarning).message) == "few seats"


@both_start_methods
def test_a_filter_that_makes_errors_of_warnings_does_so_in_the_call() -> None:
    [wrapped] = call_concurrently(1, noisy.warn, "few seats").errors  # "error" is the filter of these tests
    assert isinstance(wrapped.error, noisy.ShopWarning)
    assert "few seats" in str(wrapped)


def test_a_filter_that_ignores_warnings_does_so_in_the_call(recwarn: pytest.WarningsRecorder) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=noisy.ShopWarning)
        assert list(call_concurrently(1, noisy.warn, "few seats")) == ["went on"]
    assert not recwarn.list


@both_start_methods
def test_what_a_call_prints_is_printed_here_and_kept_in_its_report(capsys: pytest.CaptureFixture[str]) -> None:
    [report] = call_concurrently(1, noisy.say, "hello").reports
    assert report.output.splitlines() == ["hello to stdout", "hello to stderr", "hello from a shell"]
    assert capsys.readouterr().out == report.output


def test_what_a_call_prints_is_seen_by_capfd(capfd: pytest.CaptureFixture[str]) -> None:
    [report] = call_concurrently(1, noisy.say, "hello").reports
    assert capfd.readouterr().out == report.output


def test_the_output_of_calls_is_not_mixed(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = make_concurrent_calls((noisy.say, {"text": "one"}), (noisy.say, {"text": "two"}))
    assert [report.output.split()[0] for report in outcomes.reports] == ["one", "two"]
    assert capsys.readouterr().out == "".join(report.output for report in outcomes.reports)


@both_start_methods
def test_nothing_can_be_read_from_stdin() -> None:
    assert list(call_concurrently(1, lambda: sys.stdin.read())) == [""]


@both_start_methods
def test_random_numbers_differ_between_calls() -> None:
    drawn = call_concurrently(3, noisy.draw).values
    assert len({early for early, _ in drawn}) == 3
    assert len({own for _, own in drawn}) == 3


def test_random_numbers_differ_between_races() -> None:
    assert not {*call_concurrently(2, noisy.draw)} & {*call_concurrently(2, noisy.draw)}


def test_a_report_tells_of_each_call_when_and_where_it_ran() -> None:
    before = time.monotonic()
    outcomes = call_concurrently(2, os.getpid)
    assert [report.pid for report in outcomes.reports] == outcomes
    for report in outcomes.reports:
        assert report.started is not None
        assert report.finished is not None
        assert before < report.started <= report.finished < time.monotonic()
        assert report.exit_status == 0
