"""Which steps of a run touch nothing of other calls, so that a picture can fold them.

What a step touches is its footprint, in rows where these can be told apart.  Locks on the
whole file of SQLite do not count, because everybody meets them, and a wait for one is shown.
"""

from collections.abc import Iterator, Sequence
from itertools import permutations

from ...base.trace import Step
from ...databases.schema import NOTHING, Catalogue
from ...sql.statements import Control
from .dependence import Act, Ledger, StatementResult, Status
from .footprint import Footprint, footprint, rows
from .rows import Thing, meet

_ENDS = frozenset({Control.COMMIT, Control.ROLLBACK, Control.ROLLBACK_TO})
_FRESH = frozenset({"read committed", "read uncommitted"})  # levels at which each statement sees what is new


def private_steps(steps: Sequence[Step], catalogue: Catalogue) -> frozenset[int]:
    """Return the indexes of the steps that touch nothing that one call changes and another touches.

    The end of a transaction is private if all that was done in it is, and so is the
    statement that settles what the later ones of it see.
    """
    touched = [footprint(step.operation, catalogue) for step in steps]
    noticed = _meetings(steps, touched, catalogue)
    for members in _transactions(steps, touched):
        if noticed.isdisjoint(members):
            continue
        noticed |= {each for each in members if touched[each].control in _ENDS}
        noticed |= {each for each in members[:1] if _settles_what_is_seen(steps[each])}
    told = {index for index, step in enumerate(steps) if step.operation.kind == "enqueue"}
    return frozenset(range(len(steps))) - noticed - told


def _transactions(steps: Sequence[Step], touched: Sequence[Footprint]) -> Iterator[list[int]]:
    """The indexes of the statements of each transaction, with its end."""
    under_way: dict[tuple[int, str, int], list[int]] = {}
    for index, (step, found) in enumerate(zip(steps, touched, strict=True)):
        operation, control = step.operation, found.control
        session = (step.call, operation.database, operation.connection)
        begins = operation.in_transaction or operation.split or control in (Control.BEGIN, Control.BEGIN_LOCKED)
        if begins or session in under_way:
            under_way.setdefault(session, []).append(index)
        if control in (Control.COMMIT, Control.ROLLBACK) and session in under_way:
            yield under_way.pop(session)
    yield from under_way.values()


def _meetings(steps: Sequence[Step], touched: Sequence[Footprint], catalogue: Catalogue) -> set[int]:
    """The steps that touch what one call changes or locks and another touches, too, or may do so."""
    changed: dict[int, frozenset[Thing]] = {}
    used: dict[int, frozenset[Thing]] = {}
    used_by_step = []
    for step, found in zip(steps, touched, strict=True):
        changes, uses = _things(step, found, catalogue)
        used_by_step.append(uses)
        changed[step.call] = changed.get(step.call, NOTHING) | changes
        used[step.call] = used.get(step.call, NOTHING) | uses
    contested = frozenset(
        thing
        for one, other in permutations(changed, 2)
        for mine, theirs in ((changed[one], used[other]), (used[one], changed[other]))
        for thing in mine
        if meet(frozenset({thing}), theirs)
    )
    pairs = [*zip(steps, touched, strict=True)]
    anything = {step.call for step, found in pairs if found.everything and step.operation.kind != "step"}
    return {
        index
        for index, ((step, found), uses) in enumerate(zip(pairs, used_by_step, strict=True))
        if found.everything
        or found.control is Control.BEGIN_LOCKED
        or meet(uses, contested)
        or (uses and anything - {step.call})
    }


def _things(step: Step, found: Footprint, catalogue: Catalogue) -> tuple[frozenset[Thing], frozenset[Thing]]:
    act = Act(step.operation, found, Ledger(), rows=rows(step.operation, catalogue))
    return act.touches(Status.FAILED if step.error else Status.DONE, StatementResult(step.rowcount))


def _settles_what_is_seen(step: Step) -> bool:
    return step.operation.vendor != "sqlite" and step.operation.isolation not in _FRESH
