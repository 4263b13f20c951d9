"""One run on its copy of the database: made, read, and put back.

A run in which somebody else wrote rows is told from the rows that no call of it can have inserted.  In doubt
a row is taken for a call's: a table counts only if every statement that may have written to it is understood,
and if it has more new rows than the calls can have inserted.  The values of the rows tell which of them those are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from ..._text import counted
from ...base.trace import ENDLESS, Run, call_name
from ...sql.accesses import accesses
from ..judging.facts import apart_from
from ..judging.judge import Seen
from ..orders.schedule import STEPS, before_repeating
from ..orders.standings import request
from .controller import SEVERED, ends_sessions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from ...base.trace import Step
    from ...databases.schema import Changes, Key
    from ...databases.state import Row
    from ...engine.attendance import Report
    from ...results.outcomes import Outcomes
    from ...sql.accesses import Access
    from ..judging.evidence import Violation
    from .controller import Attempt, Chooser
    from .stage import Stage
    from .stepped_databases import ExploredDatabases

    _Row = Mapping[str, Any]


def foreign_rows(
    rows: Mapping[str, Sequence[_Row]],
    start: Mapping[str, Sequence[_Row]],
    keys: Mapping[str, Key],
    steps: Sequence[Step],
    touched: Callable[[Step], Collection[str]],
) -> dict[str, list[_Row]]:
    """Find them, by table.

    Args:
        rows: What was there after the run, by table.
        start: What was there before it.
        steps: All of the run, also what made the calls ready.
        touched: The tables that a step may have written to.
    """
    made = accesses(steps)
    found = {}
    for table, now in rows.items():
        columns = keys[table].columns if table in keys else ()
        new = _new(now, start.get(table, ()), columns) if columns else []
        if new and _are_understood(table, columns, made, steps, touched):
            inserted = _inserted(table, made)
            if len(new) > len(inserted):
                found[table] = _unmatched(new, inserted) or new[len(inserted) :]
    return found


def _new(now: Sequence[_Row], start: Sequence[_Row], columns: Sequence[str]) -> list[_Row]:
    """The rows of which none at the start had the key."""
    others, gone = apart_from(now, start)
    known = {_key(row, columns) for row in gone}
    return [row for row in others if _key(row, columns) not in known]


def _inserted(table: str, made: Sequence[Access]) -> list[dict[str, Any]]:
    """The rows that calls inserted, less the columns that they may have changed afterwards."""
    written = [access for access in made if access.table == table]
    changed = {column for access in written if access.verb != "insert" for row in access.written for column in row}
    inserted = [row for access in written if access.verb == "insert" for row in access.written]
    return [{column: value for column, value in row.items() if column not in changed} for row in inserted]


def _key(row: _Row, columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(repr(row.get(column)) for column in columns)


def _are_understood(
    table: str,
    columns: Sequence[str],
    made: Sequence[Access],
    steps: Sequence[Step],
    touched: Callable[[Step], Collection[str]],
) -> bool:
    """Whether it is known of each statement that may have written to the table what it wrote.

    One that may have written elsewhere, too, has a trigger, which may have written to the table as well.
    """
    understood = {access.step for access in made if access.table == table and _is_plain(access, columns)}
    changed = {number: names for number, step in enumerate(steps) if table in (names := set(touched(step)))}
    return all(number in understood and names == {table} for number, names in changed.items())


def _is_plain(access: Access, columns: Sequence[str]) -> bool:
    if access.verb == "insert":
        return bool(access.written)
    return access.verb in ("update", "delete") and not any(
        column in row for row in access.written for column in columns
    )


def _unmatched(rows: Sequence[_Row], inserted: list[dict[str, Any]]) -> list[_Row]:
    """The rows that are left when each inserted row is paired with one that it can have become."""
    unmatched = []
    for row in rows:
        made = next((one for one in inserted if _may_become(one, row)), None)
        if made is None:
            unmatched.append(row)
        else:
            inserted.remove(made)
    return unmatched


def _may_become(written: _Row, row: _Row) -> bool:
    return all(_may_be(value, row[column]) for column, value in written.items() if column in row)


def _may_be(written: object, value: object) -> bool:
    """Only what is written and read alike can be told apart: numbers and plain words."""
    if isinstance(written, int) and isinstance(value, int):
        return written == value
    if isinstance(written, str) and isinstance(value, str) and not written.startswith(("{", "[")):
        return written.rstrip() == value.rstrip()
    return True


_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Referee:
    """Judges how runs end.

    Attributes:
        outcomes_of: Makes what the calls came to from their reports.
        refusals: Exceptions by which a call refuses.
        ignored: Tables, and columns of tables, that are not compared.
        rule: Asks the caller's rule, if there is one; None where it is kept.
    """

    outcomes_of: Callable[[Sequence[Report], Collection[int]], Outcomes]
    refusals: tuple[type[BaseException], ...] = ()
    ignored: Collection[tuple[str, str | None]] = ()
    rule: Callable[[Outcomes], Awaitable[Violation | None]] | None = None


@dataclass(slots=True)
class Place:
    """Where runs are made: a stage, and the databases that its calls may change.

    Attributes:
        is_clean: Nothing of any run is left in the databases.
    """

    stage: Stage
    databases: ExploredDatabases
    is_clean: bool = True


@dataclass(frozen=True, slots=True)
class Made:
    """What was seen of a run on its place, before anything is concluded.

    Attributes:
        seen: How it ended; None if it was given up.
        problems: Why it proves nothing, a sentence each.
        strange: Tables to which somebody else wrote meanwhile.
        refused: What calls have refused by.
        remarks: How its rows were put back, a sentence each.
        has_moved: Whether some came to other places in a table than they had before, see `ExploredDatabases`.
    """

    attempt: Attempt
    seen: Seen | None = None
    problems: Sequence[str] = ()
    strange: frozenset[str] = frozenset()
    refused: frozenset[type[BaseException]] = frozenset()
    remarks: Sequence[str] = ()
    has_moved: bool = False

    def is_like(self, other: Made) -> bool:
        """Whether the calls have done the same, and have ended alike, but for the numbers that keys have."""
        return bool(self._told()) and self._told() == other._told()

    def _told(self) -> tuple[object, ...]:
        if self.seen is None:
            return ()
        run = self.seen.run
        steps = [
            (step.call, step.operation.kind, _NUMBER.sub("0", step.operation.text), step.rowcount, step.error is None)
            for step in run.steps
        ]
        rows = {table: len(rows) for table, rows in run.tables.items()}
        return steps, rows, [type(getattr(outcome, "error", outcome)) for outcome in run.outcomes]


@dataclass
class Maker:
    """Makes runs.

    Attributes:
        end_sessions: Ends what calls have left on servers.
        deadline: Of the exploration, on the clock of the event loop.
        is_tuned: The counters of keys are where they are to be, and how far a run moves them does not matter.
        strange: Tables to which somebody else has written.
        shown: The reports of the run that the caller is told of: the first, as long as no other is chosen.
    """

    referee: Referee
    end_sessions: Callable[[Sequence[Report]], Awaitable[None]]
    deadline: float
    is_tuned: bool = False
    strange: frozenset[str] = frozenset()
    shown: list[Report] = field(default_factory=list)

    async def make(
        self,
        place: Place,
        chooser: Chooser,
        made: tuple[int, ...],
        among: tuple[int, ...],
        *,
        is_first: bool,
        ask_rule: bool,
        limit: int = STEPS,
    ) -> Made:
        """Make one run, look at it, and put everything back on its place.

        Args:
            made: The calls that are made.
            among: Those by which its ending counts them.
            is_first: Whether no run has come before it.
            ask_rule: Whether the caller's rule is asked, if there is one.
            limit: How many steps it may have.
        """
        databases = place.databases
        place.is_clean = False
        attempt = await place.stage.perform(chooser, made, self.deadline, limit)
        if attempt.is_void:
            await self.end_sessions(attempt.reports)
            await in_thread(databases.restore)
            return Made(attempt)
        operations = [step.operation for step in (*attempt.prelude, *attempt.steps)]
        if is_first:  # SQLite puts all tables back with any of them: nothing would show at the end
            await in_thread(databases.look_behind, operations)
        touched = databases.changes([*attempt.prelude, *attempt.steps])
        found = Made(attempt)
        try:
            found = await self._look(place, attempt, touched, made, among, ask_rule=ask_rule)
        finally:
            # what a run that was given up waited for may keep from being written what is as it was
            is_told = found.seen or found.strange or self.strange
            await in_thread(databases.restore, touched if is_told else None)
            place.is_clean = True
        return replace(found, remarks=databases.remarks, has_moved=databases.has_moved())

    async def _look(
        self,
        place: Place,
        attempt: Attempt,
        touched: Mapping[str, Changes | None],
        calls: Collection[int],
        among: tuple[int, ...],
        *,
        ask_rule: bool,
    ) -> Made:
        databases = place.databases
        if any(attempt.reports[number].result is None for number in calls):
            await place.stage.see_gone()
            await self.end_sessions(attempt.reports)
        problem = attempt.problem or self._death(attempt, calls) or _severed(attempt, calls)
        if problem:
            # Each statement that may have come through is among the steps, so that this tells what others wrote.
            strange = await _adopt(databases, attempt, await in_thread(databases.rows, touched))
            return Made(attempt, problems=[problem, *_told_of(strange)], strange=frozenset(strange))
        rule = self.referee.rule if ask_rule and not attempt.is_endless else None
        if rule is not None:
            await place.stage.see_gone()
        if not self.shown:
            self.shown = list(attempt.reports)
        made = self.referee.outcomes_of(attempt.reports, calls)
        refused = self._refused(made)
        tables = await in_thread(databases.rows, touched)
        strange = await _adopt(databases, attempt, tables) if not attempt.unseen else {}
        if strange:
            return Made(attempt, problems=_told_of(strange), strange=frozenset(strange), refused=refused)
        advances = () if self.is_tuned else await in_thread(databases.advances)
        broken = await rule(made) if rule is not None else None
        steps = attempt.steps
        if attempt.is_endless:
            steps = steps[: before_repeating([(step.call, request(step.operation)) for step in steps])]
        run = Run(_ended(attempt, made, calls), tables, tuple(steps))
        return Made(attempt, Seen(run, among, attempt.reports, advances, broken), refused=refused)

    def judged(self, made: Made, calls: Collection[int]) -> Made:
        """Say what the calls came to in a run that was made where nobody knows that."""
        assert made.seen is not None
        outcomes = self.referee.outcomes_of(made.attempt.reports, calls)
        run = replace(made.seen.run, outcomes=_ended(made.attempt, outcomes, calls))
        seen = replace(made.seen, run=run, reports=made.attempt.reports)
        return replace(made, seen=seen, refused=self._refused(outcomes))

    def _refused(self, outcomes: Outcomes) -> frozenset[type[BaseException]]:
        return frozenset(type(each.error) for each in outcomes.errors if isinstance(each.error, self.referee.refusals))

    def _death(self, attempt: Attempt, calls: Collection[int]) -> str:
        """Why a process gave no result; empty if all did, or were not let."""
        if attempt.is_endless:
            return ""
        silent = [number for number in calls if attempt.reports[number].result is None]
        dead = silent[:1] if attempt.dead is None else [attempt.dead]
        outcomes = self.referee.outcomes_of(attempt.reports, calls) if dead else ()
        return "".join(f"{call_name(number)} has no outcome: {outcomes[number]}" for number in dead)


async def _adopt(
    databases: ExploredDatabases, attempt: Attempt, rows: Mapping[str, Sequence[Row]]
) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """Leave in place what somebody else has written during a run, and say what that is, by table."""
    steps = [*attempt.prelude, *attempt.steps]
    strange = foreign_rows(
        rows, databases.start, databases.keys, steps, lambda step: databases.touched([step.operation])
    )
    if strange:
        await in_thread(databases.adopt, strange, rows)
    return strange


def _ended(attempt: Attempt, outcomes: Sequence[object], calls: Collection[int]) -> tuple[object, ...]:
    """What the calls came to; those that would never have ended are told of as such."""
    return tuple(
        ENDLESS if attempt.is_endless and number in calls and not attempt.reports[number].result else outcome
        for number, outcome in enumerate(outcomes)
    )


def _severed(attempt: Attempt, calls: Collection[int]) -> str:
    """Which of the calls the server has ended the session of; empty if none, or if the calls do that themselves."""
    if any(ends_sessions(step.operation) for step in attempt.steps):
        return ""
    cut = [number for number in calls if (result := attempt.reports[number].result) and result.is_severed]
    return SEVERED.format(cut[0] + 1) if cut else ""


def _told_of(strange: Mapping[str, Sequence[object]]) -> list[str]:
    """What somebody else wrote, as a sentence; none if nobody did."""
    if not strange:
        return []
    rows = " and ".join(f"{counted(len(found), 'row')} of {table}" for table, found in sorted(strange.items()))
    told = f"somebody else wrote to the database meanwhile ({rows}, which no call can have inserted); what they wrote "
    return [f"{told}is left, and nothing is proved"]


async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Run what blocks in a thread."""
    return await anyio.to_thread.run_sync(function, *args)
