"""The name of a race, what happened in a sentence or two, and what may help.

The names are those of Berenson et al., "A Critique of ANSI SQL Isolation Levels",
where that has one.  They are told from who read and wrote what, and when it took
effect; what is told is always what the steps show, never what is usual.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .._trace import Step, call_name
from .accesses import Access, accesses
from .evidence import result
from .hints import hint
from .oracle import Violation
from .patterns import Finding, find
from .stories import counts


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A race by its name.

    Attributes:
        name: Such as "lost update".
        explanation: What happened, with the values.
        hint: What may help.
        steps: The indexes of the steps that it is about.
        read: The index of the one that read what was no longer so, if it can lock.
    """

    name: str
    explanation: str
    hint: str
    steps: tuple[int, ...] = ()
    read: int | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.explanation}\nhint: {self.hint}"


_DEADLOCK = re.compile(r"deadlock", re.IGNORECASE)
_SERIALIZATION = re.compile(
    r"could not serialize|SerializationFailure|Record has changed since last read", re.IGNORECASE
)
_LOCKED = re.compile(r"(database|table)( \w+)? is locked", re.IGNORECASE)
_IMPATIENT = re.compile(r"lock wait timeout|could not obtain lock|NOWAIT|lock timeout", re.IGNORECASE)
_FOREIGN = re.compile(r"foreign key", re.IGNORECASE)
_EXCLUSION = re.compile(r"exclusion constraint", re.IGNORECASE)
_UNIQUE = re.compile(r"IntegrityError|UniqueViolation|UNIQUE constraint|Duplicate entry", re.IGNORECASE)

_ORDERED = (
    "Lock the rows in the same order everywhere, e.g. list(queryset.order_by('pk').select_for_update()) first, "
    "or repeat the whole transaction when it fails."
)


def name_anomaly(steps: Sequence[Step], violation: Violation) -> Anomaly:
    """Name what went wrong in a run that is in violation, as well as its steps tell."""
    if violation.kind == "endless":
        return _endless(steps, violation)
    deadlock = _deadlock(steps) if violation.kind != "no serial order" else None
    if deadlock is not None:
        return deadlock
    done = accesses(steps)
    found = find(done, violation.differences)
    if violation.kind == "unhandled conflict":
        return _conflict(steps, violation, found)
    if found is None:
        return _unnamed(violation, done)
    explanation = f"{found.story}; {result(violation, done, found.place)}."
    return Anomaly(found.name, explanation, hint(found, violation.differences), found.steps, _lockable(found))


def _lockable(found: Finding) -> int | None:
    read = found.read
    can_lock = read.verb == "select" and not read.in_vain and not read.locks and not counts(read)
    return read.step if can_lock and found.manner != "read back" else None


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
        f"{call_name(steps[index].call)} waited for {_calls(steps[index].waited_for)} in step {index + 1}"
        for index in cycle
    ]
    story = " while ".join(waits) or f"two calls waited for each other in step {victim + 1}"
    explanation = f"{story}; the database ended the circle with an error in {call_name(steps[victim].call)}."
    return Anomaly("deadlock", explanation, _ORDERED, tuple(sorted({*cycle, victim})))


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


def _calls(calls: frozenset[int]) -> str:
    return " and ".join(call_name(call) for call in sorted(calls))


def _conflict(steps: Sequence[Step], violation: Violation, found: Finding | None) -> Anomaly:
    story = f"{found.story}; {violation.detail}." if found else f"{violation.detail}."
    failed = [index for index, step in enumerate(steps) if step.error and step.call in violation.calls]
    marked = tuple(sorted({*failed[-1:], *(found.steps if found else ())}))
    text = violation.detail + "".join(steps[index].error or "" for index in failed)
    return Anomaly("unhandled conflict", story, _conflict_hint(text, found), marked)


def _conflict_hint(text: str, found: Finding | None) -> str:
    if _SERIALIZATION.search(text):
        return "The database asks for a retry: repeat the whole transaction, from before atomic(), when it fails so."
    if _LOCKED.search(text):
        return (
            'Begin transactions that will write with OPTIONS={"transaction_mode": "IMMEDIATE"}, so that they wait at '
            "their beginning, or repeat the whole transaction."
        )
    if _IMPATIENT.search(text):
        return (
            "Another call held the lock for longer than the query waits: leave out nowait=True, or catch the error and "
            "try again. If the error is a correct refusal, name it in refusals=(...)."
        )
    if _FOREIGN.search(text):
        return (
            "The row that is referred to went meanwhile: lock it with select_for_update() inside atomic() before the "
            "row that refers to it is written. If the error is a correct refusal, name it in refusals=(...)."
        )
    if _EXCLUSION.search(text):
        return (
            "Catch the IntegrityError around an atomic() block of its own and say that it is taken. If the error is a "
            "correct refusal, name it in refusals=(...)."
        )
    if _UNIQUE.search(text):
        return (
            "Use get_or_create(), or catch the IntegrityError around an atomic() block of its own and read the row "
            "that the other call made. If the error is a correct refusal, name it in refusals=(...)."
        )
    if found is not None and found.manner == "not committed":
        return hint(found, ())
    advice = "Handle the error where it is raised. If it is a correct refusal, name it in refusals=(...)."
    return f"{hint(found, ())} {advice}" if found and found.manner != "used up" else advice


def _unnamed(violation: Violation, done: Sequence[Access]) -> Anomaly:
    if violation.kind == "broken rule":
        explanation = f"{violation.detail}; the steps show none of the usual patterns."
        advice = "Follow the values in the lanes; run with no check= to hear whether a serial order ends like this."
        return Anomaly("broken rule", explanation, advice)
    explanation = f"the steps show none of the usual patterns; {result(violation, done)}."
    advice = "Follow the values in the lanes to the first that is not what its call can have expected."
    return Anomaly("no serial order", explanation, advice)
