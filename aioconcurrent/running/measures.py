"""Measures what locks do, by exploring the calls again with one lock more, or with one less.

Of a race, what would prevent it: every call is put into one transaction, at each isolation level
that the server has, and with the stale read made a locking one.  A call that the database then
refuses counts as one that has to be repeated.

Of calls that are safe, which locks they need: one lock at a time is taken away.  A constraint is
not, for that would change the schema of the test database, and a killed process could not restore
it.  One that has refused a row is only named.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..base.sources import place_of
from ..databases.changed_locks import Change, changed
from ..databases.handoff import database_identity
from ..exploring.judging.verdict import ALONE
from ..results.exploration import Lock, Remedy

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from ..base.calls import Call
    from ..base.trace import LockSite, Operation
    from ..databases.handoff import Handoff
    from ..results.exploration import Counterexample, Exploration
    from ..results.outcomes import Outcomes
    from .question import Question

_SCHEDULES = 60
_SECONDS = 20.0
_LEVELS = ("SERIALIZABLE", "REPEATABLE READ")


@dataclass(frozen=True)
class Way:
    """One way in which the calls are changed.

    Attributes:
        name: What texts call it.
        options: Of the connections, beside those that they have.
        locking: The text of the query that locks.
    """

    name: str
    options: dict[str, Any]
    locking: str = ""


def can_be_measured(question: Question) -> bool:
    """Tell whether the calls can be made in a transaction: coroutines cannot be, and a rule has to be a plain one."""
    functions = [call.function for call in question.calls]
    return not any(map(inspect.iscoroutinefunction, [*functions, question.check]))


def ways(found: Counterexample) -> Iterator[Way]:
    """The ways that there are on the database of the read."""
    step = None if found.read is None else found.steps[found.read]
    vendor = next((each.operation.vendor for each in found.steps if each.operation.vendor), "")
    if vendor == "sqlite":
        yield Way("BEGIN IMMEDIATE", {"transaction_mode": "IMMEDIATE"})
        return
    if step is not None:
        place = place_of(step.source)
        yield Way(f"FOR UPDATE at {place}" if place else "FOR UPDATE", {}, step.operation.text)
    for level in _LEVELS if vendor else ():
        yield Way(level, {"isolation_level": _level(vendor, level)})


def _level(vendor: str, level: str) -> object:
    if vendor != "postgresql":
        return level.lower()
    from django.db.backends.postgresql.psycopg_any import IsolationLevel

    return IsolationLevel[level.replace(" ", "_")]


def changed_question(question: Question, way: Way, aliases: tuple[str, ...]) -> Question:
    """Ask of the changed calls what was asked, within limits."""
    from django.db import OperationalError

    options = question.options
    limited = replace(
        options,
        workers=1,
        max_schedules=min(_SCHEDULES, options.max_schedules),
        max_seconds=min(_SECONDS, options.max_seconds),
    )
    return replace(
        question,
        calls=changed_calls(question.calls, Change(aliases, way.locking)),
        options=limited,
        check=question.check and _unless_refused(question.check, OperationalError),
        refusals=(*question.refusals, OperationalError),
        schedule=None,
        likely=None,
    )


def changed_calls(calls: Sequence[Call], change: Change) -> list[Call]:
    """Return the same calls with a change."""
    return [replace(call, function=changed(call.function, change)) for call in calls]


def _unless_refused(check: Callable[[Outcomes], Any], refusal: type[Exception]) -> Callable[[Outcomes], Any]:
    def check_of_those_made(outcomes: Outcomes) -> Any:
        return any(isinstance(each.error, refusal) for each in outcomes.errors) or check(outcomes)

    return check_of_those_made


def changed_handoff(handoff: Handoff, way: Way, aliases: tuple[str, ...]) -> Handoff:
    """Let the connections of the calls have the options of a way."""
    settings = handoff.settings()
    for alias in aliases:
        settings[alias]["OPTIONS"] = {**(settings[alias].get("OPTIONS") or {}), **way.options}
    return handoff.changed(settings, handoff.allowed)


def aliases_of(found: Counterexample, handoff: Handoff, named: Callable[[Operation], Operation]) -> tuple[str, ...]:
    """The aliases in use of the databases that the steps were on."""
    used = {step.operation.database for step in found.steps if step.operation.vendor}
    settings = handoff.settings()

    def name_of(alias: str) -> str:
        any_step = next(step.operation for step in found.steps if step.operation.vendor)
        return named(replace(any_step, database=database_identity(settings[alias]))).database

    return tuple(sorted(alias for alias in handoff.likely if used and name_of(alias) in used))


def remedy(way: Way, found: Exploration, *, repeats: bool) -> Remedy:
    """Say what came of a way."""
    is_enough = {"race": False, "no race": True, "inconclusive": None}[found.verdict]
    return Remedy(way.name, is_enough, repeats and is_enough is True)


def without(question: Question, sites: Iterable[LockSite]) -> Question:
    """Ask the same of calls that do not take these locks, and note those that they take."""
    change = Change(is_watched=True, without=frozenset(sites))
    return replace(question, calls=changed_calls(question.calls, change), schedule=None, likely=None, remedies=False)


def refuse_unsafe(whole: Exploration) -> None:
    """Raise ValueError where there is no safety that could depend on a lock."""
    if whole.verdict == "race":
        raise ValueError(
            f"locks() is for calls that are safe, and these race ({whole.reason}). "
            "explore(..., remedies=True) measures what would prevent it."
        )
    if whole.verdict == "inconclusive":
        raise ValueError(f"locks() is for calls that are safe, and these could not be judged: {whole.reason}.")


def taken(sites: Iterable[LockSite]) -> list[LockSite]:
    """The locks that can be taken away, by their places."""
    return sorted((site for site in sites if site.kind != "constraint"), key=_place)


def constraints(sites: Iterable[LockSite]) -> list[Lock]:
    """What is told of constraints that have refused a row."""
    found = sorted((site for site in sites if site.kind == "constraint"), key=_place)
    told = "it has refused a row; what would come of the calls without it was not tried"
    return [Lock(_lock_name(site), None, told) for site in found]


def came_of(sites: Collection[LockSite], found: Exploration, whole: Exploration) -> Lock:
    """Say what came of the calls without these locks.

    Args:
        found: Of the calls without them.
        whole: Of the calls with all their locks.
    """
    name = " and ".join(map(_lock_name, sites))
    new_errors = [note for note in found.notes if note.startswith(ALONE) and note not in whole.notes]
    if found.counterexample is not None:
        return Lock(name, True, found.counterexample.anomaly, found.counterexample)
    if found.verdict == "inconclusive" or new_errors:
        return Lock(name, None, " ".join(("; ".join(new_errors) or found.reason).split()))
    if found.preemptions is not None:
        return Lock(name, False, f"as far as orders with up to {found.preemptions} preemptions tell")
    return Lock(name, False)


def _lock_name(site: LockSite) -> str:
    what = f"{site.kind} {site.name}".strip()
    place = place_of(site.source)
    return f"{what} at {place}" if place else what


def _place(site: LockSite) -> tuple[str, int, str, str]:
    file, _, line = place_of(site.source).rpartition(":")
    return file, int(line or 0), site.kind, site.name
