"""Warns of results that a test has not looked at, as soon as it no longer can.

For a result of the test itself, that is when it is garbage-collected after the test's call,
or else at the end of its teardown; for the result of a fixture, when the fixture is finalized.
A test that fails shows them in a section instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ..results import unread

if TYPE_CHECKING:
    from collections.abc import Generator


class UnreadPlugin:
    """The hooks that watch results."""

    def __init__(self) -> None:
        self._watch = unread.Watch()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        unread.let_watch(self._watch)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[object]) -> Generator[None, object, object]:
        __tracebackhide__ = True
        around, self._watch.owner = self._watch.owner, fixturedef
        try:
            return (yield)
        finally:
            self._watch.owner = around

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[object]) -> None:
        self._watch.give_back(fixturedef)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        __tracebackhide__ = True
        result = yield
        if not getattr(item, "_excinfo", None):  # where a TestCase keeps how it failed
            self._warn(only_gone=True)
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Generator[None, object, object]:
        __tracebackhide__ = True
        result = yield
        unread.let_watch(None)
        self._warn()
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if call.excinfo is not None:
            texts = [each.text for each in self._watch.take()]
            if report.failed and texts:
                report.sections.append(("Not looked at", "\n".join(texts)))
        return report

    def pytest_unconfigure(self) -> None:
        unread.let_watch(None)

    def _warn(self, *, only_gone: bool = False) -> None:
        __tracebackhide__ = True
        for each in self._watch.take(only_gone=only_gone):
            each.warn()
