"""What the report of a failed test shows of its last race."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import _latest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._outcomes import CallReport, Outcomes

_OUTPUT_SHOWN = 2000  # characters of a call's output, at its end; all of it is in the captured stdout


def add_sections(sections: list[tuple[str, str]]) -> None:
    """Add to the sections of a report what was noted while its test ran."""
    result = _latest.seen()
    if result is None:
        return
    from .._outcomes import Outcomes

    if isinstance(result, Outcomes):
        sections.extend(_of_race(result))


def _of_race(outcomes: Outcomes) -> Iterator[tuple[str, str]]:
    yield "Last concurrent calls", str(outcomes)
    for report in outcomes.reports:
        yield from _of_output(report)


def _of_output(report: CallReport) -> Iterator[tuple[str, str]]:
    output = report.output.strip("\n")
    if output:
        cut = "[...] " if len(output) > _OUTPUT_SHOWN else ""
        yield f"Output of {report.call}", cut + output[-_OUTPUT_SHOWN:]
