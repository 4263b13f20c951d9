"""One run of the calls, stepped: exactly one call runs at a time, as far as its next operation.

The controller lets a call go and waits until all stand still again: each waits at its gate, waits in the database, or
has ended.  Where nobody can be in its way, a call may go ahead for some steps, and the controller takes them in later.
Only the database says that a statement waits (`databases/probes.py`).  No clock takes part in any decision, except for
giving up.
"""

from __future__ import annotations

import re
import select
from collections import deque
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

import anyio
import anyio.lowlevel
import anyio.to_thread

from ...base import own_clock as time
from ...base import pickling
from ...base.trace import LATER, ROWS_KEPT, START, LockSite, Operation, Step, task_text
from ...databases.probes import describe_process, lock_holders
from ...databases.watching.gate import Busy, Cancelled, Done, Ended, Fetch, Leave, Left, Unsplittable, Want, Went
from ...engine.attendance import Attendance
from ...engine.protocol import Release
from ...exceptions import StateError
from ..orders.dependence import StatementResult
from ..orders.schedule import STEPS, Serial
from ..orders.standings import Decision, request

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from anyio.abc import TaskGroup

    from ...engine.attendance import Report
    from ...engine.launch import Wrapper
    from .stepped_databases import ExploredDatabases

_GLANCE = 0.001  # seconds that a statement may take before the database is asked whether it waits
_GAZE = 0.02  # seconds likewise, where no other call is known to hold anything
_MOMENT = 0.005  # seconds for which the event loop may be kept waiting, that of an exploration alone
_OUTSIDER = 0.5  # seconds for which somebody outside the calls may hold a lock; autovacuum gives way sooner
TASKS = 8  # that are made, of those that calls enqueue; such as retry themselves for ever would be without end
OVERTIME = "the time was over in the middle of a run"
UNENDED = f"the calls had not ended after {STEPS} steps; one of them may wait for another in a loop"

SEVERED = "the server has ended the session of call {}, and no call asked it to"

_CAN_GO_AHEAD = frozenset({"sql", "many", "callproc", "commit", "rollback", "close", "cache", "step"})
_ENDS_SESSIONS = re.compile(r"\bpg_terminate_backend\b|^\s*KILL\b", re.IGNORECASE)


class Chooser(Protocol):
    """Says who goes next: a walk of the search, a replay, a serial order."""

    def choose(self, decision: Decision) -> int | None:
        """Return a call that is ready, or None to end the run."""

    def certain(self, call: int) -> int:
        """How many times more the call that was chosen last is the one, as long as it is ready and none is blocked."""


@dataclass
class Attempt:
    """What came of a run that was tried.

    Attributes:
        reports: One per call; each is final when its process has ended, see `Stage.see_gone`.
        prelude: What made the calls ready.
        steps: What was done, in the order in which it was let go.
        problem: Why the run was given up before its end; empty if it was not.
        is_endless: Whether it would have gone on for ever: the calls that could go on did the same again and again.
        dead: The call whose process ended before the call did, if one did while it stood still.
        unknown: The `Operation.database` that has to be opened before the run can be made.
        outdated: The run has to be made again with what is known of its statements now.
        unattended: Calls that enqueued a task for which there was no wrapper, once for each; the run has to be made
            again with them.
        tasks: The text of each task that was enqueued, by the number of the call that makes it.
        unshared: Which caches the calls used that no other process sees, a sentence each.
        unseen: What could not be seen of the run, a sentence each; with any, "no race" is not exhaustive.
        locks: That the calls took or left out, where that is noted.
        is_reused: Whether a process had made a call before.
    """

    reports: Sequence[Report]
    prelude: list[Step] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    problem: str = ""
    is_endless: bool = False
    dead: int | None = None
    unknown: str = ""
    outdated: bool = False
    unattended: tuple[int, ...] = ()
    tasks: dict[int, str] = field(default_factory=dict)
    unshared: set[str] = field(default_factory=set)
    unseen: set[str] = field(default_factory=set)
    locks: set[LockSite] = field(default_factory=set)
    is_reused: bool = False

    @property
    def leftovers(self) -> list[str]:
        """Why processes make no other call, of those that were to."""
        return [result.leftover for report in self.reports if (result := report.result) and result.leftover]

    @property
    def is_whole(self) -> bool:
        """Whether it came to its end."""
        return not (self.problem or self.is_endless or self.is_void or self.dead is not None)

    @property
    def is_void(self) -> bool:
        """Whether it has to be made again, with what is known now."""
        return bool(self.unknown or self.outdated or self.unattended)


class _LeftError(Exception):
    """The run is left before its end; `why` are the attributes of the attempt that say so."""

    def __init__(self, **why: object) -> None:
        super().__init__(why)
        self.why = why


class _State(Enum):
    IDLE = auto()  # not started yet
    DORMANT = auto()  # for a task that nobody has enqueued yet
    RUNNING = auto()  # Python, up to the next operation
    WAITING = auto()  # at the gate
    GRANTED = auto()  # in the database
    BLOCKED = auto()  # there too, and the database says that it waits
    HELD = auto()  # the operation has ended, the call may not go on yet
    ENDED = auto()


@dataclass
class _Process:
    """One call, and how its process stands."""

    number: int
    attendance: Attendance
    enqueuer: int | None = None  # the call whose task it is to make
    state: _State = _State.IDLE
    left: Left | None = None  # the task that it is about to enqueue
    enqueued: int = 0  # how many it has enqueued
    task: bytes | None = None  # that it is to make
    want: Want | None = None
    step: int | None = None  # the index of its last step
    may_hold: bool = False  # locks, after that step
    has_locked: bool = False  # something of which it is not known when it is free again
    read: int | None = None  # the index of the step whose rows it reads
    waited: bool = False  # in that step
    is_cancelled: bool = False  # in that step, to end a deadlock
    goes_on: bool = False  # when that step has ended, without leave
    asked: list[Operation] = field(default_factory=list)  # what it has asked for, as it has called it
    ahead: deque[tuple[Operation, str]] = field(default_factory=deque)  # what comes next and may go, and its manner
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


def holds(operation: Operation) -> bool:
    """Whether what it has locked stays so when it has ended."""
    return (operation.in_transaction or operation.split) and operation.kind not in ("commit", "rollback", "close")


@dataclass
class Scripts:
    """What calls are expected to ask for.

    Attributes:
        known: By the number of a call, what it asked for in the last run in which it came to its end.
        is_trusted: Whether a call may go ahead by it; not where one has waited for another that was thought to hold
            nothing.
    """

    known: dict[int, list[Operation]] = field(default_factory=dict)
    is_trusted: bool = True


class Controller:
    """Steps the calls of one run, each in a wrapper of its own.

    Args:
        databases: Whose probes tell who waits; calls report that themselves where there is none.
        limit: Seconds for one step.
        wrappers: Or what a wrapper was attended by at its last call, if it stays from one to the next.
        keeps: Whether they stay after this run, too, as far as they can.
        enqueuers: Of each wrapper that makes a task, the call that enqueues it.
        deliveries: How often a task comes that was enqueued once.
        scripts: What the calls are expected to ask for; gets what they ask for in this run.

    Attributes:
        attempt: What came of the run.
        is_alone: Whether no other run is made by this event loop meanwhile.
        has_gone: Set when no process of it is alive any more.
    """

    def __init__(
        self,
        databases: ExploredDatabases,
        limit: float,
        wrappers: Sequence[Wrapper | Attendance],
        enqueuers: Mapping[int, int],
        deliveries: int,
        *,
        keeps: bool = False,
        scripts: Scripts | None = None,
    ) -> None:
        self._are_to_stay = keeps
        self._databases = databases
        self._enqueuers, self._deliveries = enqueuers, deliveries
        self._scripts = scripts or Scripts()
        self._beginning = Release(0.0)  # how calls are to begin
        self._chooser: Chooser | None = None  # once all are ready
        self._left_to_choose = 0
        self._probes = databases.probes
        self._limit = limit
        self._processes = [self._attended(number, wrapper) for number, wrapper in enumerate(wrappers)]
        self._news: deque[tuple[_Process, object]] = deque()
        self._wake = anyio.Event()
        self._dirty = False  # something ended since those who wait were last looked at
        self._failed: set[int] = set()
        self._freed: list[int] = []  # the indexes of steps that waited and have ended since the last decision
        self._current: _Process | None = None
        self._left = len(wrappers)
        self.is_alone = False
        self._turn = 0.0  # when the event loop is to have its next turn
        self.attempt = Attempt(
            [process.attendance.report for process in self._processes],
            is_reused=any(process.attendance.has_been_used for process in self._processes),
        )
        self.has_gone = anyio.Event()

    @property
    def _steps(self) -> list[Step]:
        return self.attempt.steps

    def _attended(self, number: int, wrapper: Wrapper | Attendance) -> _Process:
        def hear(message: bytes | None) -> None:
            self._news += [(process, each) for each in ((None,) if message is None else pickling.loads(message))]
            self._wake.set()

        if isinstance(wrapper, Attendance):
            attendance = Attendance(wrapper.wrapper, hear, keeps=self._are_to_stay, before=wrapper)
        else:
            attendance = Attendance(wrapper, hear, keeps=self._are_to_stay)
        process = _Process(number, attendance, self._enqueuers.get(number))
        return process

    @property
    def staying(self) -> dict[int, Attendance]:
        """Those that wait for another call, when the run is over."""
        return {process.number: process.attendance for process in self._processes if process.attendance.stays}

    async def end_staying(self) -> None:
        """End those that would."""
        for attendance in self.staying.values():
            await attendance.end()

    def begin(self, group: TaskGroup, tasks: Sequence[bytes], start_up: float) -> None:
        """Have the wrappers come to the barrier, in tasks of the group."""
        for process, task in zip(self._processes, tasks, strict=True):
            process.attendance.report.limit = start_up
            group.start_soon(process.attendance.drain)
            group.start_soon(self._attend, process.attendance, task)

    async def _attend(self, attendance: Attendance, task: bytes) -> None:
        try:
            await attendance.run(task)
        finally:
            self._left -= 1
            if not self._left:
                self.has_gone.set()

    async def arrive(self, seconds: float) -> None:
        """Wait so long until all wrappers are at the barrier."""
        with anyio.move_on_after(seconds):
            for process in self._processes:
                await process.attendance.arrived.wait()

    async def dismiss(self) -> None:
        """Let the wrappers end without a run."""
        for process in self._processes:
            await process.attendance.dismiss()

    def give_up(self) -> None:
        """End the wrappers, whatever they are doing."""
        for process in self._processes:
            process.attendance.give_up()

    async def run(self, chooser: Chooser, calls: Collection[int], limit: int, *, quiet: bool = False) -> None:
        """Have these calls get ready one after the other, and step them to their ends; the others are not made.

        Args:
            limit: How many steps they may take.
            quiet: Whether nobody may stop in them.

        Raises:
            StateError: What a statement is about to change could not be put back.
        """
        try:
            await self._get_all_ready(chooser, calls, quiet=quiet)
            await self._step(chooser, limit)
            for process in self._in(_State.DORMANT):  # it finds no task, and ends
                await self._let_go(process)
        except _LeftError as left:
            self.attempt = replace(self.attempt, **left.why)  # type: ignore[arg-type]  # each as the attempt has it

    async def _get_all_ready(self, chooser: Chooser, calls: Collection[int], *, quiet: bool) -> None:
        self._databases.begin_run()
        self._beginning = Release(time.monotonic(), chooser.draw if isinstance(chooser, Serial) else 0, quiet)
        for process in self._processes:
            if process.attendance.is_set and process.number in calls:
                process.want, process.state = Want(START, None, None, (), ()), _State.WAITING
            elif process.state is not _State.ENDED:
                await self._get_ready(process, is_made=process.number in calls)
            if process.enqueuer is not None and process.state is _State.WAITING:
                process.state = _State.DORMANT
            process.step = process.read = None
        self.attempt.prelude, self.attempt.steps = self.attempt.steps, []
        self._failed, self._freed = set(), []

    async def _step(self, chooser: Chooser, limit: int) -> None:
        self._chooser, self._left_to_choose = chooser, limit
        while self._left_to_choose > 0:
            while self._in(_State.BLOCKED) and not self._in(_State.WAITING):
                await self._unblock()
            await self._take_news()
            decision = self._decision()
            self._left_to_choose -= 1
            call = chooser.choose(decision)
            if call is None:
                return
            await self._let_go(self._processes[call], frozenset(decision.ready))
        if self._goes_round():
            raise _LeftError(is_endless=True)
        raise _LeftError(problem=UNENDED)

    def _goes_round(self) -> bool:
        """Whether all who could go on did so for long, and only asked for what they had asked for before."""
        recent = [(step.call, request(step.operation)) for step in self._steps[len(self._steps) // 2 :]]
        before, after = set(recent[: len(recent) // 2]), set(recent[len(recent) // 2 :])
        return before == after and {process.number for process in self._in(_State.WAITING)} <= {
            call for call, _ in after
        }

    async def _release(self, process: _Process) -> None:
        script = self._scripts.known.get(process.number, ())
        release = replace(self._beginning, start=time.monotonic(), script=pickling.dumps(script) if script else b"")
        await process.attendance.release(release, timeout=float("inf"))

    async def _get_ready(self, process: _Process, *, is_made: bool) -> None:
        """Let a call do what comes before it, or end where it is not made."""
        process.state = _State.RUNNING
        if is_made:
            await self._release(process)
        else:
            await process.attendance.dismiss()
        await self._settle(process)
        while process.state is not _State.ENDED and process.operation != START:
            if process.state is _State.BLOCKED:
                await self._unblock()
            else:
                await self._let_go(process)

    def _decision(self) -> Decision:
        ready = {process.number: process.operation for process in self._in(_State.WAITING)}
        blocked = frozenset(process.number for process in self._in(_State.BLOCKED))
        failed, self._failed = frozenset(self._failed), set()
        freed, self._freed = self._freed, []
        got = [step for step in freed if not self._steps[step].error]  # the victim of a deadlock has overtaken nobody
        pairs = [(other, step) for step in got for other in self._ahead(step)]
        overtook = {self._steps[step].call for other, step in pairs if self._waits(other, freed)}
        if any(other in freed and not self._keeps(other) and not self._keeps(step) for other, step in pairs):
            self.attempt.unseen.add("which of two statements that waited for one lock came first")
        return Decision(ready, blocked, failed, frozenset(overtook), self._results())

    def _results(self) -> dict[int, StatementResult]:
        found: dict[int, StatementResult] = {}
        for process in self._processes:
            if process.step is None or process.state is _State.BLOCKED:
                continue
            read = self._steps[process.step if process.read is None else process.read]
            rowcount = self._steps[process.step].rowcount
            found[process.number] = StatementResult(rowcount, read.operation, read.columns, read.rows)
        return found

    def _ahead(self, step: int) -> list[int]:
        """The steps behind which PostgreSQL had this one wait, and that waited themselves."""
        if self._steps[step].operation.vendor != "postgresql":
            return []
        others = [self._processes[call].step for call in self._steps[step].waited_for]
        return [other for other in others if other is not None and other < step and self._steps[other].waited_for]

    def _waits(self, step: int, freed: Sequence[int]) -> bool:
        """Whether a step waits still, or was set free and holds what nobody could have got after it."""
        if self._processes[self._steps[step].call].state is _State.BLOCKED:
            return True
        return step in freed and self._keeps(step) and bool(self._steps[step].rowcount) and not self._steps[step].error

    def _keeps(self, step: int) -> bool:
        """Whether a step leaves locked what it has found."""
        operation = self._steps[step].operation
        return operation.in_transaction or operation.split

    def _in(self, *states: _State) -> list[_Process]:
        return [process for process in self._processes if process.state in states]

    async def _let_go(self, process: _Process, enabled: frozenset[int] = frozenset()) -> None:
        assert process.want is not None
        if not self._databases.knows(process.operation):
            raise _LeftError(unknown=process.operation.database)
        self._current = process
        if process.operation.kind == "start":
            process.state = _State.RUNNING
            if process.attendance.is_set:
                await self._release(process)
            else:
                await self._answer(process, Leave("go"))
            await self._settle(process)
            return
        keep = self._databases.foresee(process.operation)
        if keep is not None:
            await anyio.to_thread.run_sync(keep)
        self._databases.caches.note(process.operation)
        if process.operation.kind == "enqueue":
            self._start_task(process)
        self._take_step(process, enabled)
        manner = self._databases.moments.manner(process.operation, self._databases.catalogue)
        process.goes_on = not self._in(_State.BLOCKED) and not self._may_wait(process)
        process.ahead = deque(self._look_ahead(process) if process.goes_on else ())
        ahead = tuple(manner for _, manner in process.ahead)
        await self._answer(process, Leave(manner, len(self._steps), process.goes_on, ahead))
        await self._settle(process)

    def _take_step(self, process: _Process, enabled: frozenset[int]) -> None:
        """Note that the operation is let go that a call has asked for."""
        assert process.want is not None
        process.step, process.waited, process.is_cancelled = len(self._steps), False, False
        process.has_locked = process.has_locked or "lock" in process.operation.text.lower()
        process.may_hold = process.has_locked or holds(process.operation)
        if not (process.operation.split and process.operation.kind == "commit"):  # its rows are read after its COMMIT
            process.read = process.step
        self._steps.append(Step(process.number, process.operation, process.want.source, enabled=enabled))
        process.state = _State.GRANTED

    def _look_ahead(self, process: _Process) -> Iterator[tuple[Operation, str]]:
        """The next operations of a call that may go without asking, and their manners.

        They are those that it has asked for in the last run, as long as nobody else would be chosen.
        """
        script, begun = self._scripts.known.get(process.number, []), len(process.asked)
        if self._chooser is None or not self._scripts.is_trusted or script[begun - 1 : begun] != process.asked[-1:]:
            return
        left = min(self._chooser.certain(process.number), self._left_to_choose)
        databases, moments = self._databases, self._databases.moments
        for asked in script[begun:]:
            operation = databases.named(asked)
            if moments.is_free(operation, databases.catalogue):
                yield operation, "free"
                continue
            if not left or operation.kind not in _CAN_GO_AHEAD or not databases.knows(operation):
                return
            operation, left = moments.split(operation, databases.catalogue), left - 1
            try:
                if databases.foresee(operation) is not None:
                    return
            except StateError:  # which is raised when it asks
                return
            databases.caches.note(operation)
            yield operation, moments.manner(operation, databases.catalogue)

    def _take_in_gone(self, process: _Process, want: Want) -> None:
        """Take in that a call has gone ahead, as if it had asked."""
        self._note_rows(process, want.columns, want.rows)
        process.asked.append(want.operation)
        operation, manner = process.ahead.popleft()
        if manner == "free":
            return
        process.want, process.state = replace(want, operation=operation), _State.WAITING
        process.note_session()
        assert self._chooser is not None
        decision = self._decision()
        self._left_to_choose -= 1
        if self._chooser.choose(decision) != process.number:
            raise RuntimeError("a call went ahead of which it was not certain that it was the next")
        self._take_step(process, frozenset(decision.ready))

    def own_up(self) -> None:
        """Count what calls may have done ahead without having said so among the steps, after a run that broke off."""
        for process in self._processes:
            left = [operation for operation, manner in process.ahead if manner != "free"]
            self._steps.extend(Step(process.number, operation) for operation in left)
            process.ahead.clear()

    def _start_task(self, process: _Process) -> None:
        """Let the task begin that a call enqueues, in as many wrappers as it is to come to."""
        if self._chooser is None:
            told = task_text(process.operation)
            self.attempt.unseen.add(f"{told} was enqueued while a call got ready, and is not made")
            return
        mine = [each for each in self._processes if each.enqueuer == process.number]
        mine = mine[process.enqueued * self._deliveries : (process.enqueued + 1) * self._deliveries]
        process.enqueued += 1
        for task in mine:
            if task.state is _State.DORMANT:
                assert task.want is not None
                assert process.left is not None
                task.task, task.state = process.left.task, _State.WAITING
                task.want = replace(task.want, operation=LATER if process.left.is_retry else START)
                self.attempt.tasks[task.number] = task_text(process.operation)
        if not mine and len(self._enqueuers) + len(self.attempt.unattended) + self._deliveries > TASKS:
            self.attempt.unseen.add(f"more than {TASKS} tasks were enqueued, and no more are made")
        elif not mine:
            self.attempt.unattended += (process.number,) * self._deliveries

    async def _unblock(self) -> None:
        """Nobody can go on: the longest waiter gets the error that its time limit would have brought."""
        first = min(self._in(_State.BLOCKED), key=lambda process: process.step or 0)
        if first.operation.database in self._probes:
            await self._wait_out(first)
            return
        outsiders = lock_holders(first.operation.database) - {process.attendance.pid for process in self._processes}
        if outsiders:
            raise _LeftError(problem=_describe_busy(first, outsiders))
        first.state, self._current = _State.GRANTED, first
        await self._answer(first, "fail")
        await self._settle(first)

    async def _wait_out(self, first: _Process) -> None:
        """Give the server a moment to see that a lock is free, or to tell whose it is."""
        deadline = time.monotonic() + _OUTSIDER
        blocked = [process for process in self._in(_State.BLOCKED) if process.operation.database in self._probes]
        while time.monotonic() < deadline:
            await self._take_news()
            waiting = self._waiting(blocked)
            freed = [
                process for process in blocked if process.number not in waiting or process.state is not _State.BLOCKED
            ]
            if freed:
                for process in freed:
                    if process.state is _State.BLOCKED:
                        process.state = _State.GRANTED
                await self._settle(first)
                return
            for process in blocked:
                outsiders = waiting[process.number] - self._by_session(process.operation.database).keys()
                if outsiders:
                    raise _LeftError(problem=self._describe_outsider(process, min(outsiders)))
            await anyio.sleep(_GLANCE)
        raise _LeftError(problem="all calls wait in the database, and it does not call that a deadlock")

    async def _answer(self, process: _Process, answer: object) -> None:
        await process.attendance.answer(pickling.dumps(answer))

    async def _settle(self, stepped: _Process) -> None:
        """Wait until no call runs and no statement is under way."""
        begun = time.monotonic()
        if begun > self._turn:  # there is one for all others now and then
            await anyio.lowlevel.checkpoint()
            self._turn = begun + _MOMENT
        while True:
            await self._take_news()
            if not self._in(_State.RUNNING, _State.GRANTED):
                if self._dirty and await self._look_again():
                    continue
                if not await self._acknowledge(stepped):
                    return
                continue
            if time.monotonic() - begun > self._limit:
                raise _LeftError(problem=self._describe_stuck())
            await self._listen(self._patience(begun))
            if self._news:
                begun = time.monotonic()
            await self._probe(begun)

    def _patience(self, begun: float) -> float:
        """How long to listen: until a database can be asked, and the longer the longer nothing has come of that."""
        granted = [process for process in self._in(_State.GRANTED) if process.operation.database in self._probes]
        if not granted:
            return self._limit
        is_likely = len(granted) > 1 or self._may_wait(granted[0])
        return max(_GLANCE if is_likely else _GAZE, (time.monotonic() - begun) / 4)

    def _may_wait(self, process: _Process) -> bool:
        """Whether another call may hold a lock for which this one waits."""
        return any(each.may_hold and each.state is not _State.ENDED for each in self._processes if each is not process)

    async def _listen(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        if not self._news and self.is_alone:
            self._listen_at_once(min(end, self._turn))
        if not self._news:
            self._wake = anyio.Event()
            with anyio.move_on_after(max(end - time.monotonic(), 0.0)):
                await self._wake.wait()
            self._turn = time.monotonic() + _MOMENT

    def _listen_at_once(self, end: float) -> None:
        """Keep the event loop waiting for the next news: most come so soon that its turns would take longer."""
        awaited = [each.attendance for each in self._in(_State.RUNNING, _State.GRANTED)]
        if not awaited:
            return
        heard, poll = {}, select.poll()
        for attendance in (each.attendance for each in self._processes):
            if (source := attendance.source) is not None:
                heard[source] = attendance
                poll.register(source, select.POLLIN)
        while not self._news and (left := end - time.monotonic()) > 0:
            if any(attendance.source is None for attendance in awaited):
                return  # the event loop has the news, such as that of an end
            ready = [heard[source] for source, _ in poll.poll(left * 1000)]
            if not ready or not all(attendance.hear_at_once() for attendance in ready):
                return

    async def _take_news(self) -> None:
        while self._news:
            process, message = self._news.popleft()
            match message:
                case Went():
                    self._take_in_gone(process, message.want)
                case Want():
                    self._note_rows(process, message.columns, message.rows)
                    process.ahead.clear()
                    if message.operation.kind != "start":
                        process.asked.append(message.operation)
                    named = self._databases.named(message.operation)
                    if self._databases.moments.is_free(named, self._databases.catalogue):
                        await self._answer(process, Leave("free"))
                        continue
                    operation = self._databases.moments.split(named, self._databases.catalogue)
                    process.want, process.state = replace(message, operation=operation), _State.WAITING
                    process.note_session()
                case Ended():
                    self._note_rows(process, message.columns, message.rows)
                    process.ahead.clear()
                    self._scripts.known[process.number] = process.asked
                    self.attempt.unshared |= set(message.unshared)
                    self.attempt.unseen |= set(message.unseen)
                    self.attempt.locks |= message.locks
                case Left():
                    process.left = message
                    await self._answer(process, "ok")
                case Fetch():
                    await self._answer(process, process.task)
                case Busy():
                    process.state, process.waited, process.goes_on = _State.BLOCKED, True, False
                    process.ahead.clear()
                case Unsplittable():
                    self._databases.moments.keep_whole(process.operation)
                    raise _LeftError(outdated=True)
                case Cancelled():
                    await self._answer(process, "deadlock" if process.is_cancelled else "raise")
                case Done():
                    self._note_end(process, message)
                case None:
                    if process.state not in (_State.IDLE, _State.RUNNING):
                        raise _LeftError(dead=process.number)
                    process.state, self._dirty = _State.ENDED, True
                    process.closed |= process.sessions

    def _note_rows(self, process: _Process, columns: tuple[str, ...], rows: tuple[tuple[object, ...], ...]) -> None:
        if process.read is not None and rows:
            step = self._steps[process.read]
            before = step.rows if step.columns == columns else ()  # of the same query, fetched bit by bit
            self._steps[process.read] = replace(step, columns=columns, rows=(*before, *rows)[:ROWS_KEPT])

    def _note_end(self, process: _Process, done: Done) -> None:
        assert process.step is not None
        if done.lost and not any(ends_sessions(step.operation) for step in self._steps):
            raise _LeftError(problem=SEVERED.format(process.number + 1))
        step = replace(
            self._steps[process.step],
            rowcount=done.rowcount,
            error=done.error,
            columns=done.columns,
            rows=done.rows,
        )
        if process.waited:
            self._freed.append(process.step)
        if process.waited and self._current is not None and self._current is not process:
            releaser = frozenset({self._current.number})
            step = replace(step, waited_for=step.waited_for or releaser, resumed_after=self._current.step)
        self._steps[process.step] = step
        if done.error is not None:
            self._failed.add(process.number)
        if process.operation.kind == "close" and process.session is not None:
            process.closed.add(process.session)
        process.state, self._dirty = _State.RUNNING if process.goes_on else _State.HELD, True

    async def _acknowledge(self, stepped: _Process) -> bool:
        """Let one call go on to its next operation, the stepped one first; False if there is none to let go on."""
        held = sorted(self._in(_State.HELD), key=lambda process: (process is not stepped, process.number))
        if held:
            held[0].state = _State.RUNNING
            await self._answer(held[0], "ok")
        return bool(held)

    async def _look_again(self) -> bool:
        """Ask for those who waited whether they still do; True if one does not, or tries again."""
        self._dirty = False
        waiting = await self._waiting_for_the_living()
        freed = [process for process in self._in(_State.BLOCKED) if process.number not in waiting]
        for process in freed:
            process.state = _State.GRANTED
            if process.operation.database not in self._probes:
                await self._answer(process, "retry")
                await self._until_answered(process)
        return bool(freed)

    async def _waiting_for_the_living(self) -> dict[int, frozenset[int]]:
        """Those who wait; a session that was closed holds its locks until the server has taken note of that."""
        closed = {session for process in self._processes for _, session in process.closed}
        deadline = time.monotonic() + self._limit
        while True:
            waiting = self._waiting(self._in(_State.BLOCKED))
            if time.monotonic() > deadline or not any(blockers & closed for blockers in waiting.values()):
                return waiting
            await anyio.sleep(_GLANCE)

    async def _until_answered(self, process: _Process) -> None:
        while process.state is _State.GRANTED:
            await self._listen(self._limit)
            await self._take_news()

    async def _probe(self, begun: float) -> None:
        """Find out which of the statements under way wait, and see to deadlocks and outsiders."""
        await self._take_news()
        granted = [process for process in self._in(_State.GRANTED) if process.operation.database in self._probes]
        if not granted:
            return
        waiting = self._waiting(granted)
        for process in granted:
            if process.number in waiting:
                await self._block(process, waiting[process.number], begun)

    def _waiting(self, processes: Sequence[_Process]) -> dict[int, frozenset[int]]:
        """Those of the processes that the database says wait, and the sessions that they wait for."""
        found: dict[int, frozenset[int]] = {}
        for database, probe in self._probes.items():
            asked = {
                process.want.session: process.number
                for process in processes
                if process.want is not None
                and process.want.session is not None
                and process.operation.database == database
            }
            if asked:
                found |= {asked[session]: blockers for session, blockers in probe.waiting(asked).items()}
        return found

    async def _block(self, process: _Process, blockers: frozenset[int], begun: float) -> None:
        ours = self._by_session(process.operation.database)
        outsiders = blockers - ours.keys()
        if outsiders:
            if time.monotonic() - begun > _OUTSIDER:
                raise _LeftError(problem=self._describe_outsider(process, min(outsiders)))
            return
        if process.ahead:  # which statement it is that waits is not known
            self._scripts.is_trusted = False
            raise _LeftError(outdated=True)
        process.state, process.waited = _State.BLOCKED, True
        assert process.step is not None
        if self._probes[process.operation.database].names_holders:
            others = frozenset(ours[session] for session in blockers)
            self._steps[process.step] = replace(self._steps[process.step], waited_for=others)
        if self._is_cycle(process):
            probe = self._probes[process.operation.database]
            assert process.want is not None
            assert process.want.session is not None
            process.state, process.is_cancelled = _State.GRANTED, True
            probe.cancel(process.want.session)

    def _by_session(self, database: str) -> dict[int, int]:
        sessions: dict[int, int] = {}
        for process in self._processes:
            for name, session in process.sessions:
                if name == database:
                    sessions[session] = process.number
        return sessions

    def _is_cycle(self, process: _Process) -> bool:
        """Whether a process waits for itself; PostgreSQL would find out after a second, and choose by chance."""
        if process.operation.vendor != "postgresql":
            return False
        reached, left = set(), [process.number]
        while left:
            step = self._processes[left.pop()].step
            for other in self._steps[step].waited_for if step is not None else ():
                if other not in reached and self._processes[other].state is _State.BLOCKED:
                    reached.add(other)
                    left.append(other)
        return process.number in reached

    def _describe_outsider(self, process: _Process, session: int) -> str:
        who = self._probes[process.operation.database].describe(session)
        return f"call {process.number + 1} waits for a lock that no other call holds, but {who}"

    def _describe_stuck(self) -> str:
        process = self._in(_State.RUNNING, _State.GRANTED)[0]
        where = f" at {process.want.source}" if process.want is not None and process.want.source else ""
        doing = "its statement did not end" if self._is_in_database(process) else "it asked for nothing"
        return f"call {process.number + 1} was let go{where}, and {doing} for {self._limit:g} s"

    def _is_in_database(self, process: _Process) -> bool:
        """Whether the statement of a call is under way; one that goes on says so no sooner than it asks again."""
        if process.state is not _State.GRANTED or not process.goes_on:
            return process.state is _State.GRANTED
        probe = self._probes.get(process.operation.database)
        session = process.want.session if process.want is not None else None
        return probe is not None and session is not None and probe.is_busy(session)


def _describe_busy(process: _Process, outsiders: Collection[int]) -> str:
    who = " and ".join(describe_process(pid) for pid in sorted(outsiders))
    return f"call {process.number + 1} waits for a lock of the database file that no other call holds, but {who}"
