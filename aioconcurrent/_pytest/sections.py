"""The sections that the report of a failed test has about its last race or exploration, the page about it, and the
index of these pages."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..results import unread
from ..running.options import editor_address
from .options import named_here, shows_unfolded
from .replaying import replay_command

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pytest

    from ..report.page import Story
    from ..report.terminal import Paper
    from ..results.exploration import Exploration
    from ..results.outcomes import Outcomes

_PAGE = "Page"
_OUTPUT_SHOWN = 2000  # characters of a call's output, at its end; all of it is in the captured stdout


def add_sections(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport, pages: Path | None) -> None:
    """Show in the report of a failed test what was noted while it ran.

    Args:
        pages: Where a page about it, and the same as data, is written too, even if the test has expected the race.
    """
    result = unread.last()
    if result is None:
        return
    from ..results.outcomes import Outcomes

    if isinstance(result, Outcomes):
        if report.failed:
            report.sections.extend(_of_race(result, item.config))
        story = _story_of_race(result, item) if report.failed and call.when == "call" else None
    else:
        exploration: Exploration = result  # type: ignore[assignment]  # nothing else is noted
        story = _story(exploration, item) if call.when == "call" else None
        if report.failed:
            told = getattr(call.excinfo and call.excinfo.value, "exploration", None)
            is_told = told is not None and told.reason is exploration.reason
            report.sections.extend(_of_exploration(exploration, item, is_told=is_told))
            if exploration.counterexample is not None and os.environ.get("GITHUB_ACTIONS") == "true":
                vars(report)["annotation"] = exploration.counterexample.annotation()
    if story is not None and pages is not None:
        from ..report.page import write_page

        told = replace(story, editor=editor_address(), test=_copied(result, item.nodeid))
        report.sections.append((_PAGE, str(write_page(told, pages, _data(result, story)))))


def annotate(reports: Iterable[object]) -> list[str]:
    """What GitHub is to be told of these: a line for each race, by its name and place."""
    lines = [line for report in reports if (line := getattr(report, "annotation", ""))]
    return list({line.split("::")[1]: line for line in reversed(lines)}.values())


def shorten_summary(report: pytest.TestReport) -> None:
    """Leave one line of an error's text for the summary, which has all of it in CI, once more."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None and crash.message.startswith("aioconcurrent."):
        crash.message = crash.message.partition("\n")[0]


def _paper(config: pytest.Config) -> Paper:
    """What the reports of this run are written for; those of a worker of pytest-xdist go elsewhere."""
    from ..report.terminal import Paper

    if not config.pluginmanager.has_plugin("terminalreporter"):
        return Paper.of_output()
    writer = config.get_terminal_writer()
    encoding = getattr(writer._file, "encoding", None) or "utf-8"
    return Paper(writer.fullwidth, writer.hasmarkup, encoding)


def _of_race(outcomes: Outcomes[Any], config: pytest.Config) -> Iterator[tuple[str, str]]:
    yield "Last concurrent calls", str(outcomes)
    if _is_recorded(outcomes):
        yield "Their lanes", outcomes.drawn(_paper(config))
    yield from _outputs(outcomes)


def _is_recorded(outcomes: Outcomes[Any]) -> bool:
    return any(report.steps for report in outcomes.reports)


def _of_exploration(exploration: Exploration, item: pytest.Item, *, is_told: bool) -> Iterator[tuple[str, str]]:
    found = exploration.counterexample
    if not is_told:  # by the error itself
        yield "Last exploration", exploration.told(replay_command(item, found.token) if found is not None else "")
    if found is None:
        return
    paper = _paper(item.config)
    yield "Lanes", found.drawn(paper)
    if shows_unfolded(item.config):
        yield "All steps", found.drawn(paper, unfolded=True)
    yield from _outputs(found.outcomes)


def _outputs(outcomes: Outcomes[Any]) -> Iterator[tuple[str, str]]:
    for report in outcomes.reports:
        if output := report.output.strip("\n"):
            cut = "[...] " if len(output) > _OUTPUT_SHOWN else ""
            yield f"Output of {report.call}", cut + output[-_OUTPUT_SHOWN:]


def _story(exploration: Exploration, item: pytest.Item) -> Story | None:
    if exploration.counterexample is None:
        return None
    from ..results.exploration import story_of_exploration

    return story_of_exploration(exploration, item.nodeid, named_here(item.config, item.nodeid))


def _story_of_race(outcomes: Outcomes[Any], item: pytest.Item) -> Story | None:
    if not _is_recorded(outcomes):
        return None
    from ..results.outcomes import story_of_race

    return story_of_race(outcomes, item.nodeid, named_here(item.config, item.nodeid))


def _copied(result: object, test: str) -> str:
    """The text of a test with the same race; nothing where none can be written."""
    from ..hunting.reproduction import copied_test
    from ..results.exploration import Exploration
    from ..running.question import Question

    asked = unread.last_asked()
    if not (isinstance(result, Exploration) and result.verdict == "race" and isinstance(asked, Question)):
        return ""
    try:
        return copied_test(result, asked, test)
    except Exception:  # the rows of a broken test may not be there to be read; its report must be
        return ""


def _data(result: object, story: Story) -> str:
    from ..report.data import as_json, run_data
    from ..results.exploration import Exploration

    return result.to_json() if isinstance(result, Exploration) else as_json(run_data(story.run, story.calls))


class PagesPlugin:
    """Removes pages of races that are gone, and writes the index of the others.

    It works in the process that gets the reports of all tests.
    """

    def __init__(self, config: pytest.Config, folder: Path) -> None:
        self._config = config
        self._folder = folder
        self._written: dict[str, list[str]] = {}  # the files about each test that ran to its end

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        has_run = report.when == "call" and (not report.skipped or hasattr(report, "wasxfail"))
        if has_run:
            written = self._written.setdefault(named_here(self._config, report.nodeid), [])
            written += [Path(text).name for name, text in report.sections if name == _PAGE]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not (self._written and self._folder.is_dir()):
            return
        from ..report.index import keep_index

        index = keep_index(self._folder, self._written)
        if index is not None:
            terminalreporter.write_line(f"Pages of races: {index}")
