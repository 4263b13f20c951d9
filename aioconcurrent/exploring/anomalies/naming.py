"""The name of a race, with the story of what happened and a hint at the fix.

The names are those of Berenson et al., "A Critique of ANSI SQL Isolation Levels", where it
has one.  They are derived from who read and wrote what, and when it took effect.  Only what
the steps show is told, never what is merely usual.  `patterns` recognises a race, `stories`
has the sentences, `hints` the fixes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..._text import clipped
from ...base.trace import Precedence, Step, call_name, call_names
from ...sql.accesses import Access, accesses
from ...sql.statements import Control, control_of
from ..judging.evidence import Violation, result
from .hints import conflict_hint_of, hint_of
from .outdated import counts
from .patterns import Match, cycle, find
from .stories import row_told

_DEADLOCK = re.compile(r"deadlock", re.IGNORECASE)
_LONGEST_ERROR = 80
_ORDERED = (
    "Lock the rows in the same order everywhere, e.g. list(queryset.order_by('pk').select_for_update()) first, "
    "or repeat the whole transaction when it fails."
)
_OF_GAP = (
    "On InnoDB several can lock a row that is not there, and then none of them can insert it: lock a row first that is "
    "there and that all who do this lock, or make the row itself before, in a transaction of its own; or repeat the "
    "whole transaction when it fails."
)


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A race by its name.

    Attributes:
        name: Such as "lost update".
        explanation: What happened, with the values.
        hint: What may help.
        steps: The indexes of the steps that it is about.
        read: The index of the one that read what was no longer so, if it can lock.
        cycle: Why each of two calls comes before the other, which no serial order has; empty if that cannot be told.
    """

    name: str
    explanation: str
    hint: str
    steps: tuple[int, ...] = ()
    read: int | None = None
    cycle: tuple[Precedence, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}: {self.explanation}\nhint: {self.hint}"


def name_anomaly(steps: Sequence[Step], violation: Violation) -> Anomaly:
    """Name what went wrong in a run that is in violation, as well as its steps tell."""
    if violation.kind == "endless":
        return _endless(steps, violation)
    deadlock = _deadlock(steps) if violation.kind != "no serial order" else None
    if deadlock is not None:
        return deadlock
    done = accesses(steps)
    found = find(done, violation.differences, is_error=violation.kind == "unhandled conflict")
    if violation.kind == "unhandled conflict":
        return _conflict(steps, violation, found)
    if found is None:
        return _swallowed(steps, violation) or _unnamed(violation, done)
    explanation = f"{found.story}; {result(violation, done, row_told(found.stale))}."
    hint = hint_of(found, violation.differences)
    return Anomaly(found.name, explanation, hint, found.steps, _lockable(found), cycle(found, done))


def _lockable(found: Match) -> int | None:
    read = found.read
    can_lock = read.verb == "select" and not read.in_vain and not read.locks and not counts(read)
    return read.step if can_lock and found.manner not in ("read back", "in between") else None


def _endless(steps: Sequence[Step], violation: Violation) -> Anomaly:
    looping = {index for index, step in enumerate(steps) if step.call in violation.calls}
    failing = {index for index in looping if steps[index].error}
    advice = "Look again, inside the loop, at what has decided that it is entered; or give up after some turns."
    return Anomaly("endless loop", f"{violation.detail}.", advice, tuple(sorted(failing or looping))[-2:])


def _deadlock(steps: Sequence[Step]) -> Anomaly | None:
    victims = [index for index, step in enumerate(steps) if step.error and _DEADLOCK.search(step.error)]
    if not victims:
        return None
    victim = victims[0]
    cycle = _cycle(steps, steps[victim].call)
    waits = [
        f"{call_name(steps[index].call)} waited for {call_names(steps[index].waited_for)} in step {index + 1}"
        for index in cycle
    ]
    story = " while ".join(waits) or f"two calls waited for each other in step {victim + 1}"
    explanation = f"{story}; the database ended the circle with an error in {call_name(steps[victim].call)}."
    advice = _OF_GAP if _has_locked_gap(steps, victim) else _ORDERED
    return Anomaly("deadlock", explanation, advice, tuple(sorted({*cycle, victim})))


def _has_locked_gap(steps: Sequence[Step], victim: int) -> bool:
    """Tell whether the INSERT that failed is into a table in which its call had locked what was not there."""
    done = [access for access in accesses(steps) if access.call == steps[victim].call and access.vendor == "mysql"]
    tables = {access.table for access in done if access.step == victim and access.verb == "insert"}
    before = [access for access in done if access.step < victim and access.table in tables]
    return any(access.in_vain or (access.locks and not access.rows) for access in before)


def _cycle(steps: Sequence[Step], call: int) -> list[int]:
    """The last waits that lead from `call` around to itself; those of everyone where they do not."""
    waits = {step.call: index for index, step in enumerate(steps) if step.waited_for}
    path: list[int] = []
    at = call
    while at in waits and waits[at] not in path:
        path.append(waits[at])
        onward = steps[waits[at]].waited_for
        at = next((each for each in sorted(onward) if each in waits), min(onward))
    return sorted(path)


def _conflict(steps: Sequence[Step], violation: Violation, found: Match | None) -> Anomaly:
    story = f"{found.story}; {violation.detail}." if found else f"{violation.detail}."
    failed = [index for index, step in enumerate(steps) if step.error and step.call in violation.calls]
    marked = tuple(sorted({*failed[-1:], *(found.steps if found else ())}))
    text = violation.detail + "".join(steps[index].error or "" for index in failed)
    hint = conflict_hint_of(text, found, [steps[index].operation for index in failed])
    return Anomaly("unhandled conflict", story, hint, marked)


def _swallowed(steps: Sequence[Step], violation: Violation) -> Anomaly | None:
    """A call whose answer is wrong ran into an error with the last statement that it made, and handled it."""
    wrong = {each.call for each in violation.differences if each.place == "outcome"}
    asked = [index for index, step in enumerate(steps) if step.operation.kind == "sql" and step.call in wrong]
    last = {steps[index].call: index for index in asked if control_of(steps[index].operation) is Control.NONE}
    failed = [index for index in last.values() if steps[index].error]
    if not failed:
        return None
    step = steps[failed[0]]
    found = find(accesses(steps), violation.differences, is_error=True)
    what = found.story if found else f"a statement of {call_name(step.call)} failed"
    explanation = f"{what}: {clipped(step.error or '', _LONGEST_ERROR)}; {result(violation, accesses(steps))}."
    marked = tuple(sorted({failed[0], *(found.steps if found else ())}))
    return Anomaly(
        "unhandled conflict", explanation, conflict_hint_of(step.error or "", found, [step.operation]), marked
    )


def _unnamed(violation: Violation, done: Sequence[Access]) -> Anomaly:
    if violation.kind == "broken rule":
        explanation = f"{violation.detail}; the steps show none of the usual patterns."
        advice = "Follow the values in the lanes; run with no check= to hear whether a serial order ends like this."
        return Anomaly("broken rule", explanation, advice)
    explanation = f"the steps show none of the usual patterns; {result(violation, done)}."
    advice = "Follow the values in the lanes to the first that is not what its call can have expected."
    return Anomaly("no serial order", explanation, advice)
