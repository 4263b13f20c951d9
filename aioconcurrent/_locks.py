"""Which locks safe calls need: the calls are explored again, without one lock at a time.

A constraint is not taken away: that would change the schema of the test database, and a
killed process could not restore it.  A constraint that has refused a row is only named.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ._exploration import Lock
from ._remedies import changed_calls
from ._sources import place_of
from .databases.changed import Change
from .exploring.verdict import ALONE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ._exploration import Exploration
    from ._question import Question
    from ._trace import LockSite


def without(question: Question, sites: Iterable[LockSite]) -> Question:
    """Ask the same of calls that do not take these locks, and note those that they take."""
    change = Change(is_watched=True, without=frozenset(sites))
    return replace(question, calls=changed_calls(question.calls, change), schedule=None, likely=None, remedies=False)


def refuse_unsafe(whole: Exploration) -> None:
    """Raise ValueError where there is no safety that could depend on a lock."""
    if whole.verdict == "race":
        raise ValueError(
            f"locks() is for calls that are safe, and here is a race ({whole.reason}). "
            "explore(..., remedies=True) measures what would prevent it."
        )
    if whole.verdict == "inconclusive":
        raise ValueError(f"locks() is for calls that are safe, and nothing can be said of these: {whole.reason}.")


def taken(sites: Iterable[LockSite]) -> list[LockSite]:
    """The locks that can be taken away, by their places."""
    return sorted((site for site in sites if site.kind != "constraint"), key=_place)


def constraints(sites: Iterable[LockSite]) -> list[Lock]:
    """What is told of constraints that have refused a row."""
    found = sorted((site for site in sites if site.kind == "constraint"), key=_place)
    told = "it has refused a row; what would come of the calls without it was not tried"
    return [Lock(_name(site), None, told) for site in found]


def came_of(sites: Collection[LockSite], found: Exploration, whole: Exploration) -> Lock:
    """Say what came of the calls without these locks.

    Args:
        found: Of the calls without them.
        whole: Of the calls with all their locks.
    """
    name = " and ".join(map(_name, sites))
    new_errors = [note for note in found.notes if note.startswith(ALONE) and note not in whole.notes]
    if found.counterexample is not None:
        return Lock(name, True, found.counterexample.anomaly, found.counterexample)
    if found.verdict == "inconclusive" or new_errors:
        return Lock(name, None, "; ".join(new_errors) or found.reason)
    if found.preemptions is not None:
        return Lock(name, False, f"as far as orders with up to {found.preemptions} preemptions tell")
    return Lock(name, False)


def _name(site: LockSite) -> str:
    what = f"{site.kind} {site.name}".strip()
    place = place_of(site.source)
    return f"{what} at {place}" if place else what


def _place(site: LockSite) -> tuple[str, int, str, str]:
    file, _, line = place_of(site.source).rpartition(":")
    return file, int(line or 0), site.kind, site.name
