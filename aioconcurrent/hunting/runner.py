"""A hunt in a run of Django's own test runner."""

from __future__ import annotations

import functools
import sys
import unittest
from typing import TYPE_CHECKING, Any

from .hooks import catch_targets
from .session import finish, hunt, start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .hunter import Hunter
    from .options import HuntOptions


def install(options: HuntOptions) -> None:
    """Let Django's runner of tests, and those that derive from it, hunt when the tests have run."""
    from django.test.runner import DiscoverRunner

    kind: Any = DiscoverRunner
    build_suite, run_suite, suite_result = kind.build_suite, kind.run_suite, kind.suite_result

    @functools.wraps(build_suite)
    def build_in_one_process(self: Any, *args: Any, **kwargs: Any) -> Any:
        self.parallel = 1  # or the tests would run where nobody knows of the hunt
        return build_suite(self, *args, **kwargs)

    @functools.wraps(run_suite)
    def run_and_hunt(self: Any, suite: Any, **kwargs: Any) -> Any:
        tests = {test.id(): (type(test), test._testMethodName) for test in _tests_of(suite)}
        hunter = self.aioconcurrent_hunter = start(options)
        catch_targets(hunter)
        _watch(hunter)
        result = run_suite(self, suite, **kwargs)
        hunter.tell = _write
        hunt(hunter, lambda test: _again(*tests[test]))
        return result

    @functools.wraps(suite_result)
    def count_races(self: Any, suite: Any, result: Any, **kwargs: Any) -> Any:
        """Runs after the databases are gone: a race counts as a failure."""
        failed: int = suite_result(self, suite, result, **kwargs)
        hunter = getattr(self, "aioconcurrent_hunter", None)
        return failed + int(hunter is not None and finish(hunter, _write))

    kind.build_suite, kind.run_suite, kind.suite_result = build_in_one_process, run_and_hunt, count_races


def _tests_of(suite: Any) -> Iterator[Any]:
    """The tests of a suite, which forgets them while it runs."""
    for each in suite:
        if isinstance(each, unittest.TestCase):
            yield each
        else:
            yield from _tests_of(each)


def _write(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _watch(hunter: Hunter) -> None:
    """Let a hunter know of each test that begins and ends."""
    kind: Any = unittest.TestCase
    run = kind.run

    @functools.wraps(run)
    def watched(self: Any, result: Any = None) -> Any:
        before = _failures(result)
        hunter.begin(self.id())
        try:
            return run(self, result)
        finally:
            hunter.end(passed=_failures(result) == before)

    kind.run = watched


def _failures(result: Any) -> int:
    return sum(len(getattr(result, name, ())) for name in ("failures", "errors", "skipped", "expectedFailures"))


def _again(kind: type[unittest.TestCase], name: str) -> None:
    """Run a test once more; what it says was said the first time."""
    unittest.TestSuite([kind(name)]).run(unittest.TestResult())
