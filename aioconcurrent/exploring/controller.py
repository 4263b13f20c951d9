"""One run of the calls, stepped: exactly one of them runs at a time, as far as its next operation.

The controller lets a call go and waits until all stand still again: each waits
at its gate, in the database, or has ended.  That a statement waits is the
database's own word (`databases/probes.py`); no clock takes part in any decision,
except for giving up.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

import anyio
import anyio.to_thread

from .. import _clock as time
from .. import _pickling
from .._trace import ROWS_KEPT, START, Operation, Step
from ..databases.files import describe_process, lock_holders
from ..databases.gate import Busy, Cancelled, Done, Ended, Unsplittable, Want
from ..engine.race import Attendance
from .schedule import Serial
from .standings import Decision, request

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ..engine.launch import Wrapper
    from .databases import ExploredDatabases

_GLANCE = 0.001  # seconds that a statement may take before the database is asked whether it waits
_OUTSIDER = 0.5  # seconds for which somebody outside the calls may hold a lock; autovacuum gives way sooner
STEPS = 1000  # of one run
UNENDED = f"the calls had not ended after {STEPS} steps; one of them may wait for another in a loop"

SEVERED = "the server has ended the session of call {}, and no call asked it to"

_ENDS_SESSIONS = re.compile(r"\bpg_terminate_backend\b|^\s*KILL\b", re.IGNORECASE)


class Chooser(Protocol):
    """Says who goes next: a walk of the search, a replay, a serial order."""

    def choose(self, decision: Decision) -> int | None:
        """Return a call that is ready, or None to end the run."""


class RunGivenUpError(Exception):
    """The run cannot be seen to its end; the argument says why."""


class EndlessError(Exception):
    """The calls do the same for ever, and nobody is left who could end that."""


class CallDiedError(Exception):
    """The process of a call has ended while it stood still; the argument is the call's number."""


class UnknownDatabaseError(Exception):
    """A call is about to use a database for the first time; the argument is its `Operation.database`."""


class OutdatedRunError(Exception):
    """The run would have been another, had been known what is known of its statements now."""


class _State(Enum):
    IDLE = auto()  # not started yet
    RUNNING = auto()  # Python, up to the next operation
    WAITING = auto()  # at the gate
    GRANTED = auto()  # in the database
    BLOCKED = auto()  # there too, and the database says that it waits
    HELD = auto()  # the operation has ended, the call may not go on yet
    ENDED = auto()


@dataclass
class Player:
    """One call as the controller sees it."""

    number: int
    attendance: Attendance
    state: _State = _State.IDLE
    want: Want | None = None
    step: int | None = None  # the index of its last step
    read: int | None = None  # the index of the step whose rows it reads
    waited: bool = False  # in that step
    is_cancelled: bool = False  # in that step, to end a deadlock
    sessions: set[tuple[str, int]] = field(default_factory=set)
    closed: set[tuple[str, int]] = field(default_factory=set)  # of the sessions, as far as this process is concerned

    @property
    def operation(self) -> Operation:
        assert self.want is not None
        return self.want.operation

    @property
    def session(self) -> tuple[str, int] | None:
        """The database and the session of its last request."""
        if self.want is None or self.want.session is None:
            return None
        return self.operation.database, self.want.session

    def note_session(self) -> None:
        if self.session is not None:
            self.sessions.add(self.session)


def ends_sessions(operation: Operation) -> bool:
    """Whether it is there to end sessions of the server."""
    return _ENDS_SESSIONS.search(operation.text) is not None


class Controller:
    """Steps the calls of one run.

    Args:
        databases: Whose probes tell who waits; calls report that themselves where there is none.
        limit: Seconds for one step.
    """

    def __init__(self, databases: ExploredDatabases, limit: float) -> None:
        self._databases = databases
        self._probes = databases.probes
        self._limit = limit
        self._players: list[Player] = []
        self._news: deque[tuple[Player, object]] = deque()
        self._wake = anyio.Event()
        self._dirty = False  # something ended since those who wait were last looked at
        self._failed: set[int] = set()
        self._freed: list[int] = []  # the indexes of steps that waited and have ended since the last decision
        self._current: Player | None = None
        self.prelude: list[Step] = []  # what made the calls ready
        self.trace: list[Step] = []
        self.unshared: set[str] = set()  # which caches the calls used that no other process sees, a sentence each
        self.unseen: set[str] = set()  # what could not be seen of the run, a sentence each

    def attend(self, number: int, wrapper: Wrapper) -> Attendance:
        """Take charge of a wrapper; whoever calls this runs the attendance."""
        player: Player

        def hear(message: bytes | None) -> None:
            self._news.append((player, None if message is None else _pickling.loads(message)))
            self._wake.set()

        player = Player(number, Attendance(wrapper, hear))
        self._players.append(player)
        return player.attendance

    async def run(self, chooser: Chooser, calls: Collection[int], limit: int = STEPS) -> None:
        """Have these calls get ready one after the other, and step them to their ends; the others are not made.

        Args:
            limit: How many steps they may take.

        Raises:
            RunGivenUpError: They do not come to their ends.
            EndlessError: They go round in a loop.
            CallDiedError: The process of one ends before its call does.
            UnknownDatabaseError: One would use a database whose rows nobody could put back.
            OutdatedRunError: A statement that was to be split cannot be.
            StateError: What a statement is about to change could not be put back.
        """
        self._databases.begin_run()
        draw = chooser.draw if isinstance(chooser, Serial) else 0
        for player in self._players:
            if player.state is not _State.ENDED:
                await self._get_ready(player, draw, is_made=player.number in calls)
            player.step = player.read = None
        self.prelude, self.trace = self.trace, []
        self._failed, self._freed = set(), []
        for _ in range(limit):
            while self._in(_State.BLOCKED) and not self._in(_State.WAITING):
                await self._unblock()
            await self._take_news()
            decision = self._decision()
            worker = chooser.choose(decision)
            if worker is None:
                return
            await self._let_go(self._players[worker], frozenset(decision.ready))
        if self._goes_round():
            raise EndlessError
        raise RunGivenUpError(UNENDED)

    def _goes_round(self) -> bool:
        """Whether all who could go on did so for long, and only asked for what they had asked for before."""
        recent = [(step.call, request(step.operation)) for step in self.trace[len(self.trace) // 2 :]]
        before, after = set(recent[: len(recent) // 2]), set(recent[len(recent) // 2 :])
        return before == after and {player.number for player in self._in(_State.WAITING)} <= {call for call, _ in after}

    async def _get_ready(self, player: Player, draw: int, *, is_made: bool) -> None:
        """Let a call do what comes before it, or end where it is not made."""
        player.state = _State.RUNNING
        if is_made:
            await player.attendance.release(time.monotonic(), timeout=float("inf"), draw=draw)
        else:
            await player.attendance.dismiss()
        await self._settle(player)
        while player.state is not _State.ENDED and player.operation != START:
            if player.state is _State.BLOCKED:
                await self._unblock()
            else:
                await self._let_go(player)

    def _decision(self) -> Decision:
        ready = {player.number: player.operation for player in self._in(_State.WAITING)}
        blocked = frozenset(player.number for player in self._in(_State.BLOCKED))
        failed, self._failed = frozenset(self._failed), set()
        freed, self._freed = self._freed, []
        got = [step for step in freed if not self.trace[step].error]  # the victim of a deadlock has overtaken nobody
        pairs = [(other, step) for step in got for other in self._ahead(step)]
        overtook = {self.trace[step].call for other, step in pairs if self._waits(other, freed)}
        if any(other in freed and not self._keeps(other) and not self._keeps(step) for other, step in pairs):
            self.unseen.add("which of two statements that waited for one lock came first")
        return Decision(ready, blocked, failed, frozenset(overtook))

    def _ahead(self, step: int) -> list[int]:
        """The steps behind which PostgreSQL had this one wait, and that waited themselves."""
        if self.trace[step].operation.vendor != "postgresql":
            return []
        others = [self._players[call].step for call in self.trace[step].waited_for]
        return [other for other in others if other is not None and other < step and self.trace[other].waited_for]

    def _waits(self, step: int, freed: Sequence[int]) -> bool:
        """Whether a step waits still, or was set free and holds what nobody could have got after it."""
        if self._players[self.trace[step].call].state is _State.BLOCKED:
            return True
        return step in freed and self._keeps(step) and bool(self.trace[step].rowcount) and not self.trace[step].error

    def _keeps(self, step: int) -> bool:
        """Whether a step leaves locked what it has found."""
        operation = self.trace[step].operation
        return operation.in_transaction or operation.split

    def _in(self, *states: _State) -> list[Player]:
        return [player for player in self._players if player.state in states]

    async def _let_go(self, player: Player, enabled: frozenset[int] = frozenset()) -> None:
        assert player.want is not None
        if not self._databases.knows(player.operation):
            raise UnknownDatabaseError(player.operation.database)
        self._current = player
        if player.operation == START:
            player.state = _State.RUNNING
            await self._answer(player, "go")
            await self._settle(player)
            return
        keep = self._databases.foresee(player.operation)
        if keep is not None:
            await anyio.to_thread.run_sync(keep)
        self._databases.caches.note(player.operation)
        player.step, player.waited, player.is_cancelled = len(self.trace), False, False
        if not (player.operation.split and player.operation.kind == "commit"):  # its rows are read after its COMMIT
            player.read = player.step
        self.trace.append(Step(player.number, player.operation, player.want.source, enabled=enabled))
        player.state = _State.GRANTED
        await self._answer(player, self._databases.moments.manner(player.operation, self._databases.catalogue))
        await self._settle(player)

    async def _unblock(self) -> None:
        """Nobody can go on: the longest waiter gets the error that its time limit would have brought."""
        first = min(self._in(_State.BLOCKED), key=lambda player: player.step or 0)
        if first.operation.database in self._probes:
            await self._wait_out(first)
            return
        outsiders = lock_holders(first.operation.database) - {player.attendance.pid for player in self._players}
        if outsiders:
            raise RunGivenUpError(_describe_busy(first, outsiders))
        first.state, self._current = _State.GRANTED, first
        await self._answer(first, "fail")
        await self._settle(first)

    async def _wait_out(self, first: Player) -> None:
        """Give the server a moment to see that a lock is free, or to tell whose it is."""
        deadline = time.monotonic() + _OUTSIDER
        blocked = [player for player in self._in(_State.BLOCKED) if player.operation.database in self._probes]
        while time.monotonic() < deadline:
            await self._take_news()
            waiting = self._waiting(blocked)
            freed = [player for player in blocked if player.number not in waiting or player.state is not _State.BLOCKED]
            if freed:
                for player in freed:
                    if player.state is _State.BLOCKED:
                        player.state = _State.GRANTED
                await self._settle(first)
                return
            for player in blocked:
                outsiders = waiting[player.number] - self._by_session(player.operation.database).keys()
                if outsiders:
                    raise RunGivenUpError(self._describe_outsider(player, min(outsiders)))
            await anyio.sleep(_GLANCE)
        raise RunGivenUpError("all calls wait in the database, and it does not call that a deadlock")

    async def _answer(self, player: Player, word: str) -> None:
        await player.attendance.answer(_pickling.dumps(word))

    async def _settle(self, stepped: Player) -> None:
        """Wait until no call runs and no statement is under way."""
        begun = time.monotonic()
        while True:
            await self._take_news()
            if not self._in(_State.RUNNING, _State.GRANTED):
                if self._dirty and await self._look_again():
                    continue
                if not await self._acknowledge(stepped):
                    return
                continue
            if time.monotonic() - begun > self._limit:
                raise RunGivenUpError(self._describe_stuck())
            await self._listen(self._patience(begun))
            await self._probe(begun)

    def _patience(self, begun: float) -> float:
        """How long to listen: until a database can be asked, and the longer the longer nothing has come of that."""
        if not any(player.operation.database in self._probes for player in self._in(_State.GRANTED)):
            return self._limit
        return max(_GLANCE, (time.monotonic() - begun) / 4)

    async def _listen(self, seconds: float) -> None:
        if not self._news:
            self._wake = anyio.Event()
            with anyio.move_on_after(seconds):
                await self._wake.wait()

    async def _take_news(self) -> None:
        while self._news:
            player, message = self._news.popleft()
            match message:
                case Want():
                    self._note_rows(player, message.columns, message.rows)
                    named = self._databases.named(message.operation)
                    if self._databases.moments.is_free(named, self._databases.catalogue):
                        await self._answer(player, "free")
                        continue
                    operation = self._databases.moments.split(named, self._databases.catalogue)
                    player.want, player.state = replace(message, operation=operation), _State.WAITING
                    player.note_session()
                case Ended():
                    self._note_rows(player, message.columns, message.rows)
                    self.unshared |= set(message.unshared)
                    self.unseen |= set(message.unseen)
                    await self._answer(player, "ok")
                case Busy():
                    player.state, player.waited = _State.BLOCKED, True
                case Unsplittable():
                    self._databases.moments.keep_whole(player.operation)
                    raise OutdatedRunError
                case Cancelled():
                    await self._answer(player, "deadlock" if player.is_cancelled else "raise")
                case Done():
                    self._note_end(player, message)
                case None:
                    if player.state not in (_State.IDLE, _State.RUNNING):
                        raise CallDiedError(player.number)
                    player.state, self._dirty = _State.ENDED, True
                    player.closed |= player.sessions

    def _note_rows(self, player: Player, columns: tuple[str, ...], rows: tuple[tuple[object, ...], ...]) -> None:
        if player.read is not None and rows:
            step = self.trace[player.read]
            before = step.rows if step.columns == columns else ()  # of the same query, fetched bit by bit
            self.trace[player.read] = replace(step, columns=columns, rows=(*before, *rows)[:ROWS_KEPT])

    def _note_end(self, player: Player, done: Done) -> None:
        assert player.step is not None
        if done.lost and not any(ends_sessions(step.operation) for step in self.trace):
            raise RunGivenUpError(SEVERED.format(player.number + 1))
        step = replace(
            self.trace[player.step],
            rowcount=done.rowcount,
            error=done.error,
            columns=done.columns,
            rows=done.rows,
        )
        if player.waited:
            self._freed.append(player.step)
        if player.waited and self._current is not None and self._current is not player:
            releaser = frozenset({self._current.number})
            step = replace(step, waited_for=step.waited_for or releaser, resumed_after=self._current.step)
        self.trace[player.step] = step
        if done.error is not None:
            self._failed.add(player.number)
        if player.operation.kind == "close" and player.session is not None:
            player.closed.add(player.session)
        player.state, self._dirty = _State.HELD, True

    async def _acknowledge(self, stepped: Player) -> bool:
        """Let one call go on to its next operation, the stepped one first; False if there is none to let go on."""
        held = sorted(self._in(_State.HELD), key=lambda player: (player is not stepped, player.number))
        if held:
            held[0].state = _State.RUNNING
            await self._answer(held[0], "ok")
        return bool(held)

    async def _look_again(self) -> bool:
        """Ask for those who waited whether they still do; True if one does not, or tries again."""
        self._dirty = False
        waiting = await self._waiting_for_the_living()
        freed = [player for player in self._in(_State.BLOCKED) if player.number not in waiting]
        for player in freed:
            player.state = _State.GRANTED
            if player.operation.database not in self._probes:
                await self._answer(player, "retry")
                await self._until_answered(player)
        return bool(freed)

    async def _waiting_for_the_living(self) -> dict[int, frozenset[int]]:
        """Those who wait; a session that was closed holds its locks until the server has taken note of that."""
        closed = {session for player in self._players for _, session in player.closed}
        deadline = time.monotonic() + self._limit
        while True:
            waiting = self._waiting(self._in(_State.BLOCKED))
            if time.monotonic() > deadline or not any(blockers & closed for blockers in waiting.values()):
                return waiting
            await anyio.sleep(_GLANCE)

    async def _until_answered(self, player: Player) -> None:
        while player.state is _State.GRANTED:
            await self._listen(self._limit)
            await self._take_news()

    async def _probe(self, begun: float) -> None:
        """Find out which of the statements under way wait, and see to deadlocks and outsiders."""
        await self._take_news()
        granted = [player for player in self._in(_State.GRANTED) if player.operation.database in self._probes]
        if not granted:
            return
        waiting = self._waiting(granted)
        for player in granted:
            if player.number in waiting:
                await self._block(player, waiting[player.number], begun)

    def _waiting(self, players: Sequence[Player]) -> dict[int, frozenset[int]]:
        """Those of the players that the database says wait, and the sessions that they wait for."""
        found: dict[int, frozenset[int]] = {}
        for database, probe in self._probes.items():
            asked = {
                player.want.session: player.number
                for player in players
                if player.want is not None and player.want.session is not None and player.operation.database == database
            }
            if asked:
                found |= {asked[session]: blockers for session, blockers in probe.waiting(asked).items()}
        return found

    async def _block(self, player: Player, blockers: frozenset[int], begun: float) -> None:
        ours = self._by_session(player.operation.database)
        outsiders = blockers - ours.keys()
        if outsiders:
            if time.monotonic() - begun > _OUTSIDER:
                raise RunGivenUpError(self._describe_outsider(player, min(outsiders)))
            return
        player.state, player.waited = _State.BLOCKED, True
        assert player.step is not None
        if self._probes[player.operation.database].names_holders:
            others = frozenset(ours[session] for session in blockers)
            self.trace[player.step] = replace(self.trace[player.step], waited_for=others)
        if self._is_cycle(player):
            probe = self._probes[player.operation.database]
            assert player.want is not None
            assert player.want.session is not None
            player.state, player.is_cancelled = _State.GRANTED, True
            probe.cancel(player.want.session)

    def _by_session(self, database: str) -> dict[int, int]:
        sessions: dict[int, int] = {}
        for player in self._players:
            for name, session in player.sessions:
                if name == database:
                    sessions[session] = player.number
        return sessions

    def _is_cycle(self, player: Player) -> bool:
        """Whether a player waits for itself; PostgreSQL would find out after a second, and choose by chance."""
        if player.operation.vendor != "postgresql":
            return False
        reached, left = set(), [player.number]
        while left:
            step = self._players[left.pop()].step
            for other in self.trace[step].waited_for if step is not None else ():
                if other not in reached and self._players[other].state is _State.BLOCKED:
                    reached.add(other)
                    left.append(other)
        return player.number in reached

    def _describe_outsider(self, player: Player, session: int) -> str:
        who = self._probes[player.operation.database].describe(session)
        return f"call {player.number + 1} waits for a lock that no other call holds, but {who}"

    def _describe_stuck(self) -> str:
        player = self._in(_State.RUNNING, _State.GRANTED)[0]
        where = f" at {player.want.source}" if player.want is not None and player.want.source else ""
        doing = "its statement did not end" if player.state is _State.GRANTED else "it asked for nothing"
        return f"call {player.number + 1} was let go{where}, and {doing} for {self._limit:g} s"


def _describe_busy(player: Player, outsiders: Collection[int]) -> str:
    who = " and ".join(describe_process(pid) for pid in sorted(outsiders))
    return f"call {player.number + 1} waits for a lock of the database file that no other call holds, but {who}"
