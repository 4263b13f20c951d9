"""The index of the pages that a run writes, kept by the process that gets the reports of all tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .options import named_here

if TYPE_CHECKING:
    import pytest

SECTION = "Page"


class PagesPlugin:
    """Removes pages of races that are gone, and writes the index of the others."""

    def __init__(self, config: pytest.Config, folder: Path) -> None:
        self._config = config
        self._folder = folder
        self._written: dict[str, list[str]] = {}  # the files about each test that ran to its end

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        has_run = report.when == "call" and (not report.skipped or hasattr(report, "wasxfail"))
        if has_run:
            written = self._written.setdefault(named_here(self._config, report.nodeid), [])
            written += [Path(text).name for name, text in report.sections if name == SECTION]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not (self._written and self._folder.is_dir()):
            return
        from ..report.index import keep_index

        index = keep_index(self._folder, self._written)
        if index is not None:
            terminalreporter.write_line(f"Pages of races: {index}")
