"""A recorded race as text: lanes in the order of time, with the milliseconds before each row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .._hidden import hidden_texts
from .._trace import Run, call_name, interleaved
from ..exploring.secrets import Secrets
from .lanes import Drawing, LaneRow, Lanes, as_text, ended

if TYPE_CHECKING:
    from .._outcomes import CallReport

_WORTH_TELLING = 0.001  # seconds that a step takes
_NOTHING = "Nothing was recorded. Make the race with options(record=True)."

Event = tuple[float, LaneRow]


def timed_lanes(outcomes: Sequence[Any], reports: Sequence[CallReport], width: int) -> str:
    """Lay a recorded race out as text.

    Args:
        width: In characters.
    """
    if not any(report.steps for report in reports):
        return _NOTHING
    steps = interleaved(report.steps for report in reports)
    run = Secrets(steps, hidden_texts()).run(Run(tuple(outcomes), {}, steps))
    events = sorted(_events(run, reports), key=lambda event: event[0])
    begin = min(event[0] for event in events)
    rows = _without_repetition(replace(row, when=f"{(time - begin) * 1000:.2f}") for time, row in events)
    heads = tuple(f"{call_name(number)}: {_text(report)}" for number, report in enumerate(reports))
    notes = "".join(
        f"\n{call_name(number)} made {report.unrecorded} more steps, which are not recorded."
        for number, report in enumerate(reports)
        if report.unrecorded
    )
    return as_text(Lanes(heads, tuple(rows)), width) + notes


def _events(run: Run, reports: Sequence[CallReport]) -> Iterator[Event]:
    drawing = Drawing(run, ())
    for step in run.steps:
        results, action, source = tuple(drawing.results(step)), drawing.action(step), step.source or ""
        whose = f" for {' and '.join(map(call_name, sorted(step.waited_for)))}" if step.waited_for else ""
        if step.waited and step.ended is not None:
            waits = (f"waits{whose or ' for a lock'}",)
            yield step.started, LaneRow(step.call, "step", None, action, waits, source)
            told = f"(waited {_milliseconds(step.waited)}{whose})"
            yield step.ended, LaneRow(step.call, "resumed", None, told, results)
        elif step.ended is None:
            waits_on = f"had waited {_milliseconds(step.waited)}{whose} and " if step.waited else ""
            told = f"{waits_on}was still under way when the call ended"
            yield step.started, LaneRow(step.call, "step", None, action, (told,), source)
        else:
            seconds = step.ended - step.started
            took = (f"took {_milliseconds(seconds)}",) if seconds >= _WORTH_TELLING else ()
            yield step.started, LaneRow(step.call, "step", None, action, (*results, *took), source)
    last = max((step.ended or step.started for step in run.steps), default=0.0)
    for number, (outcome, report) in enumerate(zip(run.outcomes, reports, strict=True)):
        yield last if report.finished is None else report.finished, ended(number, outcome)


def _without_repetition(rows: Iterator[LaneRow]) -> Iterator[LaneRow]:
    """The rows, with the application's line only where it is another than in the call's row before."""
    sources: dict[int, str] = {}
    for row in rows:
        yield replace(row, source="") if sources.get(row.call) == row.source else row
        sources[row.call] = row.source or sources.get(row.call, "")


def _text(report: CallReport) -> str:
    """The call without its place among the others and without the function's module."""
    function, bracket, arguments = report.call.partition(", ")[2].partition("(")
    return function.rpartition(".")[2] + bracket + arguments


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
