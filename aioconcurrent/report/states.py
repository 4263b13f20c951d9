"""What every call is at, row by row of the lanes: in a transaction, waiting, ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from .._trace import Step
from .lanes import LaneRow

__all__ = ["State", "states"]


class State(NamedTuple):
    """What a call is at after a row: in no transaction, in one, waiting for others, or just ended."""

    call: int
    kind: Literal["alone", "open", "waiting", "ended"]
    waits_for: tuple[int, ...] = ()


def states(rows: Sequence[LaneRow], steps: Sequence[Step]) -> Iterator[list[State]]:
    """For each row, the calls that have begun and not ended in an earlier one."""
    now: dict[int, State] = {}
    for row in rows:
        if row.kind == "ended":
            now[row.call] = State(row.call, "ended")
        elif row.kind != "repeated":
            now[row.call] = _after(row, steps[row.steps.start])
        yield [now[call] for call in sorted(now)]
        if row.kind == "ended":
            del now[row.call]


def _after(row: LaneRow, step: Step) -> State:
    failed_at_once = step.error is not None and step.resumed_after is None
    if row.kind == "step" and step.waited_for and not failed_at_once:
        return State(row.call, "waiting", tuple(sorted(step.waited_for)))
    if step.operation.in_transaction and step.operation.kind not in ("commit", "rollback", "close"):
        return State(row.call, "open")
    return State(row.call, "alone")
