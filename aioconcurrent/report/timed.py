"""A recorded race as text: lanes in the order of time, with the milliseconds before each row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .._hidden import hidden_texts
from ..exploring.secrets import Secrets
from ..exploring.trace import Ending, TracedStep, call_name
from .lanes import Drawing, LaneRow, Lanes, as_text, ended

if TYPE_CHECKING:
    from .._outcomes import CallReport
    from .._recorded import RecordedStep
    from .story import Recorded

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
    recorded = traced(reports)
    steps = tuple(step for step, _, _ in recorded)
    ending = Secrets(steps, hidden_texts()).ending(Ending(tuple(outcomes), {}, steps))
    recorded = [(step, *each[1:]) for step, each in zip(ending.steps, recorded, strict=True)]
    outcomes, drawing = ending.outcomes, Drawing(ending, ())
    events = sorted(_events(drawing, recorded, outcomes, reports), key=lambda event: event[0])
    begin = min(event[0] for event in events)
    rows = _without_repetition(replace(row, when=f"{(time - begin) * 1000:.2f}") for time, row in events)
    heads = tuple(f"{call_name(number)}: {_text(report)}" for number, report in enumerate(reports))
    notes = "".join(
        f"\n{call_name(number)} made {report.unrecorded} more steps, which are not recorded."
        for number, report in enumerate(reports)
        if report.unrecorded
    )
    return as_text(Lanes(heads, tuple(rows)), width) + notes


def traced(reports: Sequence[CallReport]) -> list[Recorded]:
    """The recorded steps of all calls in the order of their beginnings, each with its beginning and its end."""
    made = sorted(
        ((number, step) for number, report in enumerate(reports) for step in report.steps),
        key=lambda each: each[1].started,
    )
    return [(_traced(index, made), step.started, step.ended) for index, (_, step) in enumerate(made)]


def _traced(index: int, made: Sequence[tuple[int, RecordedStep]]) -> TracedStep:
    call, step = made[index]
    return TracedStep(
        call,
        step.operation,
        step.source,
        step.rowcount,
        step.columns,
        step.rows,
        step.error,
        step.waited_for,
        _set_free_by(index, made),
    )


def _set_free_by(index: int, made: Sequence[tuple[int, RecordedStep]]) -> int | None:
    """The last step with which a call that was waited for may have given up its locks, as far as times tell."""
    _, waiter = made[index]
    if waiter.ended is None:
        return None
    found = [
        (_ends_transaction(step), number)
        for number, (call, step) in enumerate(made)
        if call in waiter.waited_for
        and step.operation.database == waiter.operation.database
        and (_ends_transaction(step) or not step.operation.in_transaction)
        and step.started < waiter.ended
        and (step.ended or step.started) > waiter.started
    ]
    return max(found)[1] if found else None


def _ends_transaction(step: RecordedStep) -> bool:
    return step.operation.kind in ("commit", "rollback", "close")


def _events(
    drawing: Drawing, recorded: Sequence[Recorded], outcomes: Sequence[Any], reports: Sequence[CallReport]
) -> Iterator[Event]:
    waits = {(number, step.started): step.waited for number, report in enumerate(reports) for step in report.steps}
    for step, began, end in recorded:
        waited, results = waits[step.call, began], tuple(drawing.results(step))
        action, source = drawing.action(step), step.source or ""
        whose = f" for {' and '.join(map(call_name, sorted(step.waited_for)))}" if step.waited_for else ""
        if waited and end is not None:
            yield began, LaneRow(step.call, "step", None, action, (f"waits{whose or ' for a lock'}",), source)
            told = f"(waited {_milliseconds(waited)}{whose})"
            yield end, LaneRow(step.call, "resumed", None, told, results)
        elif end is None:
            waits_on = f"had waited {_milliseconds(waited)}{whose} and " if waited else ""
            told = f"{waits_on}was still under way when the call ended"
            yield began, LaneRow(step.call, "step", None, action, (told,), source)
        else:
            took = (f"took {_milliseconds(end - began)}",) if end - began >= _WORTH_TELLING else ()
            yield began, LaneRow(step.call, "step", None, action, (*results, *took), source)
    last = max((end or began for _, began, end in recorded), default=0.0)
    for number, (outcome, report) in enumerate(zip(outcomes, reports, strict=True)):
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
