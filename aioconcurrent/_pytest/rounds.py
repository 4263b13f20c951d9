"""A test is run in rounds, each with fixtures of its own, and reported as one test.

Fixtures of a wider scope than the test's stay: only the last round ends them.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.runner import call_and_report  # private, as for every plugin that runs a test again

from ..results import unread
from .options import check_rounds

if TYPE_CHECKING:
    from collections.abc import Mapping

MARK = (
    "race(rounds=10): run the test that many times, every time with fresh fixtures, and report in how many rounds "
    "it failed; it passes if all did."
)
_ROUNDS = 10  # of a test whose mark names no number


class RoundsPlugin:
    """The hooks that run tests in rounds.

    A number on the command line holds for all tests that race, whatever their marks
    say; one in the configuration file for those whose marks say nothing.
    """

    def __init__(self, from_file: Mapping[str, Any], from_command_line: Mapping[str, Any]) -> None:
        self._asked = from_command_line.get("rounds")
        self._usual = from_file.get("rounds")

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            _marked_rounds(item)  # a mark that is no good is told before any test runs

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        marked = _marked_rounds(item)
        count = self._asked or marked or self._usual or (1 if marked is None else _ROUNDS)
        if count == 1 or item.config.getoption("setuponly") or item.config.getoption("setupshow"):
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in _Rounds(item, nextitem, count, even_without_race=marked is not None).run():
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True


def _marked_rounds(item: pytest.Item) -> int | None:
    """What the mark of a test says: None without a mark, 0 if it names no number."""
    mark = item.get_closest_marker("race")
    if mark is None:
        return None
    where = f"{item.nodeid}: rounds in @pytest.mark.race(rounds=...)"
    if len(mark.args) > 1 or mark.kwargs.keys() - {"rounds"} or (mark.args and mark.kwargs):
        written = ", ".join([*map(repr, mark.args), *(f"{name}={value!r}" for name, value in mark.kwargs.items())])
        raise pytest.UsageError(
            f"{item.nodeid}: the mark is written @pytest.mark.race(rounds=20), not @pytest.mark.race({written})."
        )
    given = [*mark.args, *mark.kwargs.values()]
    if not given:
        return 0
    check_rounds(given[0], where)
    return int(given[0])


class _Rounds:
    """The rounds of one test.

    Args:
        even_without_race: Whether to go on after a first round without concurrent calls.
    """

    def __init__(self, item: pytest.Item, nextitem: pytest.Item | None, count: int, *, even_without_race: bool) -> None:
        self._item: Any = item
        self._next_item = nextitem
        self._next_round = copy.copy(item)  # what ends no more than the test's own fixtures, if it comes next
        self._count = count
        self._even_without_race = even_without_race
        self._made: list[_Round] = []

    def run(self) -> list[pytest.TestReport]:
        """Run them, and return the reports of the first that failed, if any did."""
        properties = len(self._item.user_properties)
        while self._made[-1].is_followed if self._made else True:
            self._item._report_sections.clear()
            del self._item.user_properties[properties:]
            self._made.append(self._run_once())
        return self._told()

    def _run_once(self) -> _Round:
        """Do what `_pytest.runner.runtestprotocol` does, which must know beforehand what comes next."""
        item, made = self._item, _Round()
        has_request = hasattr(item, "_request")  # of fixtures
        if has_request and not item._request:
            item._initrequest()
        try:
            made.reports.append(call_and_report(item, "setup", log=False))
            if made.reports[0].passed:
                made.reports.append(call_and_report(item, "call", log=False))
            made.is_followed = self._is_followed(made)
            following = self._next_round if made.is_followed else self._next_item
            if item.session.shouldfail or item.session.shouldstop:
                following = None
            made.reports.append(call_and_report(item, "teardown", log=False, nextitem=following))
        finally:
            if has_request:
                item._request, item.funcargs = False, None
        return made

    def _is_followed(self, made: _Round) -> bool:
        if len(self._made) + 1 == self._count or self._item.session.shouldfail or self._item.session.shouldstop:
            return False
        if not (self._made or self._even_without_race or _has_raced()):
            return False
        return made.verdict != "was skipped" and not (made.verdict == "failed" and self._ends_with_failure())

    def _ends_with_failure(self) -> bool:
        config = self._item.config
        limit = config.getoption("maxfail") or 0
        return bool(config.getoption("usepdb") or 0 < limit <= self._item.session.testsfailed + 1)

    def _told(self) -> list[pytest.TestReport]:
        shown = min(self._made, key=lambda made: _VERDICTS.index(made.verdict))
        if len(self._made) > 1 or self._count == 1 or self._even_without_race:
            numbers = [number for number, made in enumerate(self._made, 1) if made.verdict == shown.verdict]
            shown.tell(numbers, len(self._made), self._count)
        for report in shown.reports:
            report.duration = sum(
                other.duration for made in self._made for other in made.reports if other.when == report.when
            )
        return shown.reports


_VERDICTS = (
    "failed",
    "failed as expected",
    "passed unexpectedly",
    "was skipped",
    "passed",
)  # the first there is counts


class _Round:
    """One run of a test.

    Attributes:
        reports: Of its set-up, its call and its teardown.
        is_followed: Whether another comes after it.
    """

    def __init__(self) -> None:
        self.reports: list[pytest.TestReport] = []
        self.is_followed = False

    @property
    def verdict(self) -> str:
        if any(report.failed and not _passed_unexpectedly(report) for report in self.reports):
            return "failed"
        if any(report.skipped and hasattr(report, "wasxfail") for report in self.reports):
            return "failed as expected"
        if any(map(_passed_unexpectedly, self.reports)):
            return "passed unexpectedly"
        return "was skipped" if any(report.skipped for report in self.reports) else "passed"

    def tell(self, numbers: list[int], made: int, count: int) -> None:
        """Say in the report that decides in which of the rounds the test came to this verdict."""
        report: Any = next((report for report in self.reports if not report.passed), self.reports[-2])
        text = f"{self.verdict} in {len(numbers)} of {made} rounds"
        which = ", ".join(map(str, numbers[:20])) + (", ..." if len(numbers) > 20 else "")
        unmade = f" {count - made} more were not run." if made < count else ""
        report.sections.insert(0, ("Rounds", f"The test {text}: {which}. Round {numbers[0]} is shown.{unmade}"))
        for each in self.reports:  # the JUnit file has those of the last
            each.user_properties.append(("rounds", text))
        if self.verdict == "passed":
            report.rounds = made
        elif crash := getattr(report.longrepr, "reprcrash", None):
            crash.message = f"{text}: {crash.message}"


def _passed_unexpectedly(report: pytest.TestReport) -> bool:
    """Whether it passed against its mark `xfail`, which fails it if the mark is strict."""
    if report.failed:
        return isinstance(report.longrepr, str) and report.longrepr.startswith("[XPASS(strict)]")
    return report.passed and hasattr(report, "wasxfail")


def _has_raced() -> bool:
    result = unread.last()
    if result is None:
        return False
    from ..results.outcomes import Outcomes

    return isinstance(result, Outcomes)
