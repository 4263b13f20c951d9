"""The pytest plugin: options, what a test shows of its races, rounds, and the end of the template.

Every run of pytest loads it where this package is installed, so it imports neither
Django nor anything else that only races need.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from ._pytest import hunt
from ._pytest.options import add_options, apply_options, check_replayed, read_options, report_folder
from ._pytest.replaying import keep_orders, kept_orders
from ._pytest.rounds import MARK, RoundsPlugin
from ._pytest.sections import PagesPlugin, add_sections, annotate, shorten_summary
from ._pytest.unread import UnreadPlugin
from .results import replaying, unread
from .running.options import set_for_run

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

_pages: pytest.StashKey[Path | None] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)
    hunt.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARK)
    layers = read_options(config)
    apply_options(*layers)
    pages = config.stash[_pages] = report_folder(config, *layers)
    if pages is not None and not hasattr(config, "workerinput") and not config.getoption("aioconcurrent_replay"):
        config.pluginmanager.register(PagesPlugin(config, pages), "aioconcurrent pages")
    config.pluginmanager.register(RoundsPlugin(*layers), "aioconcurrent rounds")
    config.pluginmanager.register(UnreadPlugin(), "aioconcurrent unread")
    if asked := hunt.options_of(config):
        config.pluginmanager.register(hunt.HuntPlugin(config, asked), "aioconcurrent hunt")


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what a killed exploration has left in a database that pytest-django keeps from run to run."""
    if not config.getoption("reuse_db", False) or config.getoption("create_db", False):
        return []
    from .databases.leftovers import left_changed

    return left_changed()


def pytest_collection_finish(session: pytest.Session) -> None:
    if session.config.getoption("aioconcurrent_replay"):
        check_replayed(session.items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    unread.keep_last()
    replaying.let_keep(kept_orders(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    shorten_summary(report)
    add_sections(item, call, report, item.config.stash[_pages])
    if call.when == "call":
        keep_orders(item, failed=report.failed)
    if call.when == "teardown":
        unread.forget()
        replaying.let_keep(None)
    return report


def pytest_report_teststatus(report: pytest.TestReport | pytest.CollectReport) -> tuple[str, str, str] | None:
    rounds = getattr(report, "rounds", None)
    return ("passed", ".", f"PASSED ({rounds} rounds)") if rounds and report.passed else None


def pytest_terminal_summary(terminalreporter: Any) -> None:
    stats = terminalreporter.stats
    for line in annotate([*stats.get("failed", ()), *stats.get("error", ())]):
        terminalreporter.write_line(line)


def pytest_unconfigure() -> None:
    """End what the races of this run have left for the next race."""
    unread.forget()
    set_for_run({}, {})
    if keeper := sys.modules.get("aioconcurrent.engine.fork"):
        keeper.close_template()
