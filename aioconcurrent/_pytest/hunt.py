"""A hunt in a run of pytest: the tests that are to run again do so before the session's fixtures end.

The workers of pytest-xdist take pairs from one list, which the process that runs no tests has.  They ask it over
a channel of the gateway by which xdist itself speaks with a worker, so that the list is one wherever the workers are.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.runner import runtestprotocol  # private, as for every plugin that runs a test again

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from ..hunting.hunter import Hunter
    from ..hunting.options import HuntOptions

    Key = tuple[str, ...]


class Claims:
    """The list."""

    def __init__(self) -> None:
        self._taken: set[Key] = set()
        self._turn = threading.Lock()  # each gateway has a thread that answers

    def take(self, key: Key) -> bool:
        """Take a pair; whether nobody has yet."""
        with self._turn:
            is_first = key not in self._taken
            self._taken.add(key)
        return is_first

    def channel_to(self, gateway: Any) -> Any:
        """A channel over which a worker can `take`, to be sent to it."""
        channel = gateway.newchannel()
        channel.setcallback(lambda key: channel.send(self.take(key)))
        return channel


def taking_over(channel: Any) -> Callable[[Key], bool]:
    """What takes a pair, in a worker."""

    def take(key: Key) -> bool:
        channel.send(key)
        return bool(channel.receive())

    return take


_OUTPUT = "aioconcurrent_hunt"
_CLAIMS = "aioconcurrent_hunt_claims"


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("aioconcurrent")
    group.addoption(
        "--aioconcurrent-hunt",
        action="store_true",
        help="when the tests have run, explore the requests and calls that they made for races",
    )
    group.addoption(
        "--aioconcurrent-hunt-args",
        metavar="TEXT",
        default="",
        help="options of the hunt, as those of `aioconcurrent hunt`: '--seconds 60 --skip *logout*'",
    )


def options_of(config: pytest.Config) -> HuntOptions | None:
    """What is asked of a hunt; None if there is to be none.

    Raises:
        UsageError: The options are no good.
    """
    if not config.getoption("aioconcurrent_hunt"):
        return None
    from ..hunting.options import HuntOptions

    if (given := getattr(config, "workerinput", {}).get(_OUTPUT)) is not None:
        return HuntOptions.of(given)
    try:
        return HuntOptions.of_text(config.getoption("aioconcurrent_hunt_args"))
    except ValueError as error:
        raise pytest.UsageError(f"--aioconcurrent-hunt-args: {error}") from None


@contextmanager
def _keeping_session(session: Any) -> Iterator[None]:
    """Let the last test end no more than its own fixtures, in a block: tests run again with those of the session."""
    state = session._setupstate
    end = state.teardown_exact
    state.teardown_exact = lambda nextitem: end(session if nextitem is None else nextitem)
    try:
        yield
    finally:
        del state.teardown_exact


class HuntPlugin:
    """The hooks of a hunt, in the process that runs the tests and in the one that tells of it."""

    def __init__(self, config: pytest.Config, options: HuntOptions) -> None:
        self._config = config
        self._options = options
        self._hunter: Hunter | None = None
        self._is_over = False
        self._passed = False
        self._others: list[dict[str, Any]] = []
        self._claims = Claims()
        self._lines: list[str] = []

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Of pytest-xdist: let a worker know what is hunted, and how to ask what others have taken."""
        node.workerinput |= {_OUTPUT: self._options.as_dict(), _CLAIMS: self._claims.channel_to(node.gateway)}

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        if found := getattr(node, "workeroutput", {}).get(_OUTPUT):
            self._others.append(found)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if session.items and not session.config.getoption("collectonly"):
            from ..hunting.hooks import catch_targets
            from ..hunting.session import start

            self._hunter = start(self._options)
            if (channel := getattr(self._config, "workerinput", {}).get(_CLAIMS)) is not None:
                self._hunter.take = taking_over(channel)
            catch_targets(self._hunter)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        """Begin and end each test for the hunter, and hunt after the last one."""
        session: Any = item.session
        self._begin(item)
        try:
            if nextitem is not None or self._hunter is None:
                return (yield)
            with _keeping_session(session):
                done = yield
        finally:
            self._end()
        if not (session.shouldfail or session.shouldstop):
            self._hunt(session)
        self._end_session(item, session)
        return done

    def _hunt(self, session: Any) -> None:
        from ..hunting.session import hunt

        assert self._hunter is not None
        self._is_over = True
        self._hunter.tell = self._tell
        items = {each.nodeid: each for each in session.items}
        hunt(self._hunter, lambda test: self._again(items[test], session))

    def _end_session(self, item: pytest.Item, session: Any) -> None:
        """End the fixtures of the session; an error of theirs is one of the last test, as without a hunt."""
        call = pytest.CallInfo.from_call(lambda: session._setupstate.teardown_exact(None), when="teardown")
        report = item.ihook.pytest_runtest_makereport(item=item, call=call)
        if report.failed:
            item.ihook.pytest_runtest_logreport(report=report)

    def _begin(self, item: pytest.Item) -> None:
        self._passed = False
        if self._hunter is not None:
            self._hunter.begin(item.nodeid)

    def _end(self) -> None:
        if self._hunter is not None:
            self._hunter.end(passed=self._passed)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if call.when == "call":
            self._passed = report.passed and not hasattr(report, "wasxfail")
        return report

    def _again(self, item: pytest.Item, session: Any) -> None:
        self._begin(item)
        try:
            runtestprotocol(item, log=False, nextitem=session)
        finally:
            self._end()

    def _tell(self, line: str) -> None:
        reporter, capture = map(self._config.pluginmanager.get_plugin, ("terminalreporter", "capturemanager"))
        if reporter is None:  # a worker of pytest-xdist has no terminal
            return
        if capture is None:
            reporter.write_line(line)
            return
        with capture.global_and_fixture_disabled():
            reporter.write_line(line)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        from ..hunting.hunter import Hunter
        from ..hunting.session import finish, for_merging, merged

        if hasattr(self._config, "workeroutput"):
            if self._hunter is not None:
                self._config.workeroutput[_OUTPUT] = for_merging(self._hunter)
            return
        hunter = self._hunter or Hunter(self._options)
        merged(hunter, self._others)
        planned = [line for other in self._others for line in other["plan"]] if self._others else None
        if not (self._is_over or self._others):
            is_empty = exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED
            what = "No test has run" if is_empty else "The tests did not come to their end"
            self._lines.append(f"{what}, so that nothing was hunted.")
        elif finish(hunter, self._lines.append, planned) and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        terminalreporter.section("hunt")
        for line in self._lines:
            terminalreporter.write_line(line)
