"""Runs that are made on other machines: what a place there is told, and what it answers.

A remote place has a stage and a copy of the databases, as a place here has.  It is told with each
run what all places have to know, as far as that has changed.  What a run was like comes
back: the search and the judge see the same as of a run that was made here.

This knows no machines and no processes: messages are bytes, and `ask` brings them there and back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import anyio

from ..._text import text_of
from ...base import pickling
from ...base.trace import Run
from ..orders.walk import Walk
from .maker import in_thread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from ...databases.state import Advance, Row
    from ..orders.sampling import Draw
    from ..orders.walk import Rules
    from .maker import Made, Maker, Place
    from .stepped_databases import ExploredDatabases, Known

_UNPROVED = 3  # runs of one place that prove nothing before it is left out


class LostError(Exception):
    """A remote place can make no more runs; the argument says why."""


@dataclass(frozen=True, slots=True)
class Briefing:
    """What a place has to know before its next run, beside the rules of the search.

    Attributes:
        opened: The databases that are open, in the order in which they were opened.
        tasks: Calls that came to the others: what makes each, and the call that enqueues it.
        moves: How often counters of keys were moved.
        advances: For what they were moved the last time.
    """

    known: Known
    opened: tuple[str, ...]
    tasks: tuple[tuple[bytes, int], ...]
    moves: int
    advances: Sequence[Advance]
    is_tuned: bool
    strange: frozenset[str]


@dataclass(frozen=True, slots=True)
class Request:
    """Make a run, or look for what has changed behind the statements.

    Attributes:
        plan: Of the run; None to look.
        draw: What its order is drawn by, if it is.
        rules: Pickled, where they are others than before.
        state: Pickled, where it is another than before.
        seconds: How long the exploration may still take.
    """

    plan: tuple[int, ...] | None
    draw: Draw | None
    rules: bytes | None
    state: bytes | None
    seconds: float
    is_first: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a request.

    Attributes:
        shown: What the run has shown to the search.
        made: The run, without outcomes and rows.
        tables: Its rows: how many at the beginning and at the end are as at the start, and those in between.
        start: Rows of tables as they were at the start, of those that were not told yet.
        widened: Tables that have changed behind the statements.
    """

    shown: Any = None
    made: Made | None = None
    tables: Mapping[str, tuple[int, Sequence[Row], int]] | None = None
    start: Mapping[str, Sequence[Row]] | None = None
    widened: frozenset[str] = frozenset()


class RemotePlace:
    """A place on another machine, as the explorer has it.

    Args:
        name: For people.
        ask: Brings a message there, and the answer back; raises LostError.
        databases: The names of those that it has copies of.
        opened: That are open from the beginning.

    Attributes:
        is_alike: Whether a run there has been seen to be as it is here.
    """

    def __init__(
        self, name: str, ask: Callable[[bytes], Awaitable[bytes]], databases: Sequence[str], opened: Sequence[str]
    ) -> None:
        self.name = name
        self.is_alike = False
        self._ask = ask
        self._databases = frozenset(databases)
        self._opened = tuple(opened)
        self._tasks: tuple[tuple[bytes, int], ...] = ()
        self._moves = 0
        self._advances: Sequence[Advance] = ()
        self._told: tuple[Rules | None, bytes] = (None, b"")
        self._start: dict[str, Sequence[Row]] = {}
        self._unproved = 0
        self._turn = anyio.Lock()  # a run that nobody waits for any more may still be under way

    def can_open(self, identity: str) -> bool:
        """Whether it has a copy of this database that is not open."""
        return identity in self._databases and identity not in self._opened

    def open(self, identity: str) -> None:
        """Have a database open from the next run on."""
        self._opened += (identity,)

    def add(self, task: bytes, enqueuer: int) -> None:
        """Have one more call from the next run on."""
        self._tasks += ((task, enqueuer),)

    def move_counters(self, advances: Sequence[Advance] = ()) -> None:
        """Have the counters of keys moved before the next run."""
        self._moves += 1
        self._advances = tuple(advances)

    async def make(
        self, run: Walk, rules: Rules, calls: tuple[int, ...], maker: Maker, here: ExploredDatabases, *, is_first: bool
    ) -> Made:
        """Have a run made there, and let `run` know of it.

        Args:
            here: The databases of the caller.

        Raises:
            UnprovedError: The run proves nothing: one here has to tell what is to be made of it.
            Exception: It cannot be made there; what is wrong there may not be wrong here.
        """
        reply = await self._request(run, rules, maker, here, is_first=is_first)
        made = reply.made
        assert made is not None
        assert reply.start is not None
        run.hear(reply.shown)
        self._start |= reply.start
        for table, rows in reply.start.items():
            here.start.setdefault(table, list(rows))
        if made.problems or made.strange:
            self._unproved += 1
            raise UnprovedError(self._unproved < _UNPROVED, *made.problems)
        if made.seen is None:
            return made
        assert reply.tables is not None
        tables = {table: self._rows(table, *each) for table, each in reply.tables.items()}
        return maker.judged(replace(made, seen=replace(made.seen, run=replace(made.seen.run, tables=tables))), calls)

    async def widen(self, rules: Rules, maker: Maker, here: ExploredDatabases) -> frozenset[str]:
        """Look for tables that have changed there behind the statements of all runs.

        Raises:
            LostError: That cannot be done.
        """
        try:
            return (await self._request(None, rules, maker, here, is_first=False)).widened
        except LostError:
            raise
        except Exception as error:
            raise LostError(f"{type(error).__name__}: {text_of(error)}") from error

    def _rows(self, table: str, before: int, rows: Sequence[Row], after: int) -> list[Row]:
        start = self._start.get(table, ())
        return [*start[:before], *rows, *start[len(start) - after :]]

    async def _request(
        self, run: Walk | None, rules: Rules, maker: Maker, here: ExploredDatabases, *, is_first: bool
    ) -> Reply:
        async with self._turn:
            state = pickling.dumps(
                Briefing(
                    here.known,
                    self._opened,
                    self._tasks,
                    self._moves,
                    self._advances,
                    maker.is_tuned,
                    maker.strange,
                )
            )
            known_rules, known_state = self._told
            request = Request(
                run.plan if run is not None else None,
                run.draw if run is not None else None,
                None if rules is known_rules else pickling.dumps(rules),
                None if state == known_state else state,
                maker.deadline - anyio.current_time(),
                is_first,
            )
            self._told = None, b""  # whoever is cancelled here does not know what was heard there
            reply: Reply = pickling.loads(await self._ask(pickling.dumps(request)))
            self._told = rules, state
            return reply


class UnprovedError(LostError):
    """A run that was made remotely proves nothing; the first argument tells whether the place may go on."""


class RequestHandler:
    """The same place where it is: follows the requests.

    Args:
        make_maker: Makes a maker of runs, for so many seconds.
    """

    def __init__(self, place: Place, make_maker: Callable[[float], Maker]) -> None:
        self._place, self._make_maker = place, make_maker
        self._rules: Rules | None = None
        self._state: Briefing | None = None
        self._tasks = self._moves = 0
        self._told: set[str] = set()  # tables whose rows at the start were told

    async def answer(self, message: bytes) -> bytes:
        """Do what a request asks for."""
        request: Request = pickling.loads(message)
        if request.rules is not None:
            self._rules = pickling.loads(request.rules)
            self._told.clear()  # the last answer may not have been heard
        if request.state is not None:
            await self._follow(pickling.loads(request.state))
        assert self._rules is not None
        assert self._state is not None
        if request.plan is None:
            await in_thread(self._place.databases.widen)
            return pickling.dumps(Reply(widened=frozenset(self._place.databases.widened)))
        maker = self._make_maker(request.seconds)
        maker.is_tuned, maker.strange = self._state.is_tuned, self._state.strange
        run, calls = Walk(request.plan, self._rules, request.draw), tuple(range(len(self._rules.classes)))
        made = await maker.make(self._place, run, calls, calls, is_first=request.is_first, ask_rule=False)
        return pickling.dumps(self._reply(run, made))

    async def _follow(self, state: Briefing) -> None:
        databases = self._place.databases
        databases.follow(state.known)
        for identity in state.opened:
            if databases.can_open(identity):
                await in_thread(databases.open, identity)
        for task, enqueuer in state.tasks[self._tasks :]:
            await self._place.stage.add(task, enqueuer)
        if state.moves != self._moves:
            await in_thread(databases.move_counters, state.advances)
        self._tasks, self._moves, self._state = len(state.tasks), state.moves, state

    def _reply(self, run: Walk, made: Made) -> Reply:
        if made.seen is None:
            return Reply(run.shown, made, {}, {})
        start, tables = self._place.databases.start, made.seen.run.tables
        new = {table: start[table] for table in start.keys() - self._told}
        self._told |= new.keys()
        told = {table: _difference(start.get(table, ()), rows) for table, rows in tables.items()}
        bare = replace(made, seen=replace(made.seen, run=Run((), {}, made.seen.run.steps)))
        return Reply(run.shown, bare, told, new)


def _difference(start: Sequence[Row], rows: Sequence[Row]) -> tuple[int, Sequence[Row], int]:
    """How many rows at the beginning, and at the end, are as at the start; and those in between."""
    most = min(len(start), len(rows))
    before = next((place for place in range(most) if start[place] != rows[place]), most)
    most -= before
    after = next((place for place in range(most) if start[-1 - place] != rows[-1 - place]), most)
    return before, rows[before : len(rows) - after], after
