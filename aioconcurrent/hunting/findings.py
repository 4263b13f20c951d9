"""The races that a hunt has found, and what is known about each."""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..base.calls import METHODS
from .pairs import shape_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ..base.trace import Run, Step
    from ..results.exploration import Counterexample

DATA, WRITE, ERROR, ANSWER = "data", "write", "error", "answer"
_RANKS = (DATA, WRITE, ERROR, ANSWER)
_READINGS = frozenset({"intermediate read", "non-repeatable read", "phantom", "read skew", "stale read"})
_CHANGES = re.compile(r"\s*\(?\s*(?:INSERT|UPDATE|DELETE|REPLACE|MERGE)\b", re.IGNORECASE)
_TOLD = {
    DATA: "rows that no serial order leaves",
    WRITE: "a write from an outdated read, and answers that no serial order gives",
    ERROR: "an error (500) that no serial order gives",
    ANSWER: "an answer that no serial order gives",
}
_SERVER_ERROR = 500
_LOCKED = "database is locked"
_LINE = re.compile(r":\d+ in ")


@dataclass(frozen=True)
class Finding:
    """One race; the same cause in several tests is one finding.

    Attributes:
        actions: What meets, as "POST /shop/1/buy/".
        names: The same without values.
        anomaly: Its name.
        kind: `DATA`, `WRITE`, `ERROR` or `ANSWER`: what a user would see.
        explanation: What happened, with the values.
        hint: What may help.
        test: The id of the test in which it was found.
        token: Of the order.
        cause: The same for two findings of one cause.
        story: The lanes, as text.
        page: The file of its page, in the folder of the report.
        tests: All the tests in which it was found.
        others: What else meets with the same cause, for people.
        schedules: Runs until it was found.
        is_known: Whether the baseline has it.
        ready: The text of a test that reproduces it, or why there is none.
    """

    actions: tuple[str, ...]
    names: tuple[str, ...]
    anomaly: str
    kind: str
    explanation: str
    hint: str
    test: str
    token: str
    cause: str
    story: str = ""
    page: str = ""
    tests: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    schedules: int = 0
    is_known: bool = False
    ready: str = ""

    @property
    def who(self) -> str:
        """What meets, for people."""
        one, other = self.names
        return f"{one} twice" if one == other else f"{one} + {other}"

    @property
    def seen(self) -> str:
        """What a user would see."""
        return _TOLD[self.kind]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a file or another process."""
        return asdict(self)

    @classmethod
    def of_dict(cls, values: dict[str, Any]) -> Finding:
        """What `as_dict` made, as it is after JSON."""
        given: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in values.items()}
        return cls(**given)


def cause_of(found: Counterexample, names: Iterable[str]) -> str:
    """The same for one race that is found twice, in other tests or after other lines of the code have moved."""
    parts = [found.anomaly]
    if any(_found_locked(step) for step in found.steps) and found.effect == "error":
        return _digest([*parts, _LOCKED])
    for step in sorted(found.marked):
        traced = found.steps[step]
        parts += [shape_of(traced.operation.text), _LINE.sub(" in ", traced.source or "").partition(":")[0]]
    if not found.marked:
        parts += sorted(names)
    return _digest(parts)


def _found_locked(step: Step) -> bool:
    """Whether SQLite refused to wait: that has one cause, the mode of transactions, whatever the statement."""
    return step.operation.vendor == "sqlite" and step.error is not None and _LOCKED in step.error


def _digest(parts: Iterable[str]) -> str:
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=6).hexdigest()


def kind_of(found: Counterexample) -> str:
    """What a user would see of a race."""
    usual = {_failure(call, outcome) for _, end in found.serial for call, outcome in _answers(found.calls, end)}
    failures = {_failure(call, outcome) for call, outcome in _answers(found.calls, found.run)} - usual
    if found.effect == "error" or failures - {None}:
        return ERROR
    if found.effect == "rows":
        return DATA
    writers = {step.call for step in found.steps if step.rowcount and _changes(step.operation.text)}
    return WRITE if found.anomaly not in _READINGS and len(writers) > 1 else ANSWER


def _answers(calls: Sequence[str], run: Run) -> Iterator[tuple[str, Any]]:
    return zip(calls, run.outcomes, strict=False)


def _failure(call: str, outcome: Any) -> int | None:
    """The status of an answer by which a server says that it has failed."""
    if call.partition(" ")[0].lower() not in METHODS:
        return None
    status = getattr(outcome, "status_code", outcome)
    return status if isinstance(status, int) and status >= _SERVER_ERROR else None


def _changes(sql: str) -> bool:
    return bool(_CHANGES.match(sql)) and "django_session" not in sql


@dataclass
class Findings:
    """All of a hunt, each cause once, the worst first."""

    by_cause: dict[str, Finding] = field(default_factory=dict)

    def add(self, found: Finding) -> bool:
        """Take one more; whether its cause is a new one."""
        known = self.by_cause.get(found.cause)
        tests = found.tests or (found.test,)
        if known is None:
            self.by_cause[found.cause] = replace(found, tests=tests)
            return True
        others = dict.fromkeys((*known.others, found.who, *found.others))
        others.pop(known.who, None)
        self.by_cause[found.cause] = replace(
            known, tests=tuple(dict.fromkeys((*known.tests, *tests))), others=tuple(others)
        )
        return False

    def ranked(self) -> list[Finding]:
        """Those that are not known first, then by what a user would see."""
        return sorted(self.by_cause.values(), key=lambda each: (each.is_known, _RANKS.index(each.kind), each.who))
