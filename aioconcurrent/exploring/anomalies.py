"""The name of a race, what happened in a sentence or two, and what may help.

The names are those of Berenson et al., "A Critique of ANSI SQL Isolation Levels",
where that has one.  They are told from who read and wrote what, and when it took
effect; what is told is always what the steps show, never what is usual.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .accesses import accesses
from .differences import ABSENT, Difference, show
from .oracle import Violation
from .patterns import Finding, find
from .trace import TracedStep, call_name


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A race by its name.

    Attributes:
        name: Such as "lost update".
        explanation: What happened, with the values.
        hint: What may help.
        steps: The indexes of the steps that it is about.
    """

    name: str
    explanation: str
    hint: str
    steps: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}: {self.explanation}\nhint: {self.hint}"


_DEADLOCK = re.compile(r"deadlock", re.IGNORECASE)
_SERIALIZATION = re.compile(
    r"could not serialize|SerializationFailure|Record has changed since last read", re.IGNORECASE
)
_LOCKED = re.compile(r"(database|table)( \w+)? is locked|lock wait timeout", re.IGNORECASE)
_UNIQUE = re.compile(r"IntegrityError|UniqueViolation|UNIQUE constraint|Duplicate entry", re.IGNORECASE)

_ORDERED = (
    "Lock the rows in the same order everywhere, e.g. list(queryset.order_by('pk').select_for_update()) first, "
    "or repeat the whole transaction when it fails."
)
_LOCK = {
    "sqlite": 'atomic() and OPTIONS={"transaction_mode": "IMMEDIATE"} (SQLite ignores select_for_update())',
    "": "select_for_update() inside atomic()",
}
_HINTS = {
    "lost update": "Let the database compute the value, as in update({column}=F({column!r}) + 1), or read the row with "
    "{lock}; save(update_fields=[...]) keeps other columns out of it.",
    "double insert": "Declare a UniqueConstraint on {columns} and use get_or_create(), or catch the IntegrityError.",
    "write skew": "Read what the decision rests on with {lock}, or run at isolation level SERIALIZABLE and repeat the "
    "transaction when it fails.",
    "stale read": "Put the condition into the write, as in filter(pk=..., {column}=...).update(...), and look at the "
    "number of rows that it returns; or read the row with {lock}.",
    "phantom": "Rows that are not there yet cannot be locked: lock a row that stands for them all with {lock}, declare "
    "a constraint, or run at isolation level SERIALIZABLE and repeat the transaction when it fails.",
    "non-repeatable read": "Read once and keep the value, read with {lock}, or run the reads in one transaction at "
    "isolation level REPEATABLE READ.",
    "stale snapshot": "The statement chose what it reads before it had to wait: lock the row first with {lock}, then "
    "read in a statement of its own.",
    "dirty-cache read": "Use cache.incr() or cache.add(), which are atomic, or take a lock around reading and writing; "
    "or drop the key after the commit and let the next reader fill it.",
}


def name_anomaly(steps: Sequence[TracedStep], violation: Violation) -> Anomaly:
    """Name what went wrong in a run that is in violation, as well as its steps tell."""
    if violation.kind == "endless":
        return _endless(steps, violation)
    deadlock = _deadlock(steps) if violation.kind != "no serial order" else None
    if deadlock is not None:
        return deadlock
    found = find(accesses(steps), violation.differences)
    if violation.kind == "unhandled conflict":
        return _conflict(steps, violation, found)
    if found is None:
        return _unnamed(violation)
    explanation = f"{found.story}; {_result(violation)}."
    return Anomaly(found.name, explanation, _hint(found, steps), found.steps)


def _endless(steps: Sequence[TracedStep], violation: Violation) -> Anomaly:
    looping = {index for index, step in enumerate(steps) if step.call in violation.calls}
    failing = {index for index in looping if steps[index].error}
    hint = "Look again, inside the loop, at what has decided that it is entered; or give up after some turns."
    return Anomaly("endless loop", f"{violation.detail}.", hint, tuple(sorted(failing or looping))[-2:])


def _hint(found: Finding, steps: Sequence[TracedStep]) -> str:
    vendor = next((step.operation.vendor for step in steps if step.operation.vendor), "")
    column = found.columns[0] if found.columns else "field"
    columns = ", ".join(found.columns) or "the columns that it looks for"
    return _HINTS[found.name].format(lock=_LOCK.get(vendor, _LOCK[""]), column=column, columns=columns)


def _deadlock(steps: Sequence[TracedStep]) -> Anomaly | None:
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


def _cycle(steps: Sequence[TracedStep], call: int) -> list[int]:
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


def _conflict(steps: Sequence[TracedStep], violation: Violation, found: Finding | None) -> Anomaly:
    story = f"{found.story}; {violation.detail}." if found else f"{violation.detail}."
    failed = [index for index, step in enumerate(steps) if step.error and step.call in violation.calls]
    marked = tuple(sorted({*failed[-1:], *(found.steps if found else ())}))
    text = violation.detail + "".join(steps[index].error or "" for index in failed)
    return Anomaly("unhandled conflict", story, _conflict_hint(text, found, steps), marked)


def _conflict_hint(text: str, found: Finding | None, steps: Sequence[TracedStep]) -> str:
    if _SERIALIZATION.search(text):
        return "The database asks for a retry: repeat the whole transaction, from before atomic(), when it fails so."
    if _LOCKED.search(text):
        return (
            'Begin transactions that will write with OPTIONS={"transaction_mode": "IMMEDIATE"}, so that they wait at '
            "their beginning, or repeat the whole transaction."
        )
    if _UNIQUE.search(text):
        return (
            "Use get_or_create(), or catch the IntegrityError around an atomic() block of its own and read the row "
            "that the other call made. If the error is a correct refusal, name it in refusals=(...)."
        )
    advice = "Handle the error where it is raised. If it is a correct refusal, name it in refusals=(...)."
    return f"{_hint(found, steps)} {advice}" if found else advice


def _unnamed(violation: Violation) -> Anomaly:
    if violation.kind == "broken rule":
        explanation = f"{violation.detail}; the steps show none of the usual patterns."
        hint = "Follow the values in the lanes; run with no check= to hear whether a serial order ends like this."
        return Anomaly("broken rule", explanation, hint)
    explanation = f"the steps show none of the usual patterns; {_result(violation)}."
    hint = "Follow the values in the lanes to the first that is not what its call can have expected."
    return Anomaly("no serial order", explanation, hint)


def _result(violation: Violation) -> str:
    """What came of it."""
    if violation.kind == "broken rule":
        return violation.detail
    if not violation.differences:
        return "new rows refer to other rows than after any serial order"
    chosen = min(violation.differences, key=lambda each: (not each.unique, each.place != "row"))
    if chosen.unique:
        return f"no serial order {_ends(chosen)}"
    return f"no serial order ends like this: {'; '.join(str(each) for each in violation.differences[:2])}"


def _ends(difference: Difference) -> str:
    if difference.place == "outcome":
        return f"makes {difference.where} {show(difference.found)}"
    if difference.found is ABSENT:
        return f"ends without {difference.where} ({show(difference.expected)})"
    if difference.expected is ABSENT:
        return f"ends with the row {difference.table} ({show(difference.found)})"
    return f"ends at {difference.name}={show(difference.found)} in {difference.where}"
