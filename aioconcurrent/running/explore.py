"""Explorations, from checked calls to a verdict: the implementation behind the awaitable and the blocking API."""

from __future__ import annotations

import inspect
import os
import threading
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from ..base import pickling
from ..base.calls import Call
from ..base.own_clock import ticking_loop
from ..databases import in_memory
from ..databases.copies import Copy, CopyError, close_connections, copied, files_of, open_connections
from ..databases.dumps import sources_of
from ..doubles import outbox
from ..doubles.transfer import Doubles
from ..engine.debugging import own_terminal
from ..engine.fork import BootFailedError
from ..engine.surroundings import findable
from ..exceptions import RealDatabaseError, UncommittedDataError, WrappedError
from ..exploring.explorer import Explorer
from ..exploring.judging.oracle import broken_rule
from ..exploring.runs import Limits
from ..exploring.stepping.maker import Place, Referee
from ..exploring.stepping.places import NotCopiedError
from ..exploring.stepping.remote import RemotePlace
from ..exploring.stepping.same_processes import Reuse
from ..exploring.stepping.stage import staging
from ..exploring.stepping.stepped_databases import ExploredDatabases
from ..report.progress import reporting
from ..results import unread
from ..results.exploration import Locks
from ..results.outcomes import Outcomes
from ..results.replaying import orders_of_test
from .cluster.addresses import addresses_here
from .cluster.assignment import Assignment, Fingerprint
from .measures import (
    aliases_of,
    came_of,
    can_be_measured,
    changed_handoff,
    changed_question,
    constraints,
    refuse_unsafe,
    remedy,
    taken,
    ways,
    without,
)
from .options import REUSED, SAMPLE
from .own_loop import on_errand
from .question import raise_mistakes
from .race import capture, context_of, end_sessions, launching, mentioned, outcomes_of, pack, relay, take_effect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence

    from ..base.trace import LockSite
    from ..databases.dumps import Source
    from ..databases.handoff import Handoff, View
    from ..databases.in_memory import Loan
    from ..engine.attendance import Report
    from ..engine.wrapper import Result
    from ..exploring.judging.evidence import Violation
    from ..results.exploration import Counterexample, Exploration, Lock, Remedy
    from .cluster.workers import Cluster
    from .options import Options
    from .project import Project
    from .question import Question
    from .race import InCaller

_MAKES_TASK = "aioconcurrent.databases.watching.tasks:make_task"
_PAUSE = 0.01  # seconds between two looks whether another exploration is over
_exploring = threading.Lock()


async def run_exploration(question: Question, views: Sequence[View], in_caller: InCaller) -> Exploration:
    """Explore calls, or replay one order of theirs.

    Args:
        views: Of the caller's connections, one per thread that may have any.
        in_caller: Runs a function where the caller's connections are.

    Raises:
        UnpicklableError: An argument, a setting or `prepare` cannot travel.
        UncommittedDataError: The caller is inside `atomic()`.
        StateError: The rows of a database cannot be read or put back.
        ProbeNotPermittedError: The database's user may not see who waits for locks.
        UnexplorableDatabaseError: A database is of an engine on which calls cannot be stepped.
        PooledSessionError: A pooler stands before the database.
        RealDatabaseError: Calls may connect to any database.
        RuntimeError: The rule of another exploration asks for this one.
        NoConnectionLeftError: The server has none left for one of the calls, or for the exploration.
        ClusterError: A cluster of dask cannot make its runs.
    """
    async with _session(question, views, in_caller) as session:
        explored = await session.explore(question)
        found = explored.found
        if question.remedies and found.counterexample is not None:
            remedies = await session.measure(question, found.counterexample, explored.databases)
            found = replace(found, counterexample=replace(found.counterexample, remedies=remedies))
        session.calls, session.shown = explored.calls, explored.shown
    if (orders := orders_of_test()) is not None and question.number is not None:
        orders.keep(question.number, found.counterexample.token if found.counterexample is not None else None)
    return unread.note(found, question)


async def run_locks(question: Question, views: Sequence[View], in_caller: InCaller) -> Locks:
    """Find out which locks of calls that are safe keep them so.

    Raises:
        ValueError: They are not safe.
        Exception: And others, as for `run_exploration`.
    """
    async with _session(question, views, in_caller) as session:
        return await session.take_away(question)


@asynccontextmanager
async def _session(question: Question, views: Sequence[View], in_caller: InCaller) -> AsyncIterator[_Session]:
    """Have the caller's surroundings for explorations in a block, and let it know of what was shown in the end."""
    if question.options.allow_real_databases:
        raise RealDatabaseError
    with ticking_loop(), findable(mentioned(question.calls, question.options)):
        async with _alone():
            async with in_memory.lent(views) as loan:
                project = replace(capture(views, loan, question.options), stepped=True)
                for alias in sorted(project.databases.uncommitted):
                    raise UncommittedDataError(alias)
                doubles = Doubles.capture(leave_behind=question.options.prepare is not None)
                session = _Session(project, doubles, in_caller, loan, opened=any(view.opened for view in views))
                yield session
            # when a database in memory is the caller's again
            await in_caller(relay, session.calls or question.calls, session.shown, doubles)


@asynccontextmanager
async def _alone() -> AsyncIterator[None]:
    """Wait for other explorations of this process: each would put back what the other has changed."""
    if on_errand.get():
        raise RuntimeError(
            "explore() or replay() was called by the check of another exploration, which needs its rows."
        )
    while not _exploring.acquire(blocking=False):  # noqa: ASYNC110 - the other one has a loop of its own
        await anyio.sleep(_PAUSE)
    try:
        yield
    finally:
        _exploring.release()


def _forget_in_fork() -> None:
    """A fork of this process explores by itself."""
    global _exploring
    _exploring = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_fork)


@dataclass(frozen=True)
class _Explored:
    """What came of an exploration; its databases are closed, and still know their names."""

    found: Exploration
    calls: Sequence[Call]
    shown: list[Report]
    refused: set[type[BaseException]]
    databases: ExploredDatabases
    locks: set[LockSite]


@dataclass
class _Session:
    """Explores calls in the caller's surroundings, once or changed again.

    Attributes:
        calls: That were explored in the end, with the tasks that came to them.
        shown: What is told of in the end.
    """

    project: Project
    doubles: Doubles
    in_caller: InCaller
    loan: Loan
    opened: bool
    calls: Sequence[Call] = ()
    shown: Sequence[Report] = ()

    async def explore(self, question: Question) -> _Explored:
        """Explore the calls, again if they use a database of which copies should have been made."""
        while True:
            try:
                return await self._explored(question)
            except NotCopiedError as found:
                databases = self.project.databases
                in_use = databases.in_use | {*found.args}
                self.project = replace(self.project, databases=replace(databases, in_use=in_use))

    async def _explored(self, question: Question) -> _Explored:
        calls = list(question.calls)  # tasks come to them
        with ExploredDatabases(self.project.databases) as databases:
            await anyio.to_thread.run_sync(databases.identify)
            try:
                async with (
                    _cluster(question) as cluster,
                    self._copies(question, databases, cluster) as (copies, problem),
                    AsyncExitStack() as stack,
                ):
                    if self.opened:
                        await anyio.to_thread.run_sync(databases.open_likely)
                    places = [await self._place(question, databases, self.project.databases, stack)]
                    remote: list[RemotePlace] = []
                    if cluster is not None and copies:
                        stack.push_async_callback(cluster.close)
                        remote = await self._open_remote(question, databases, cluster, copies)
                    for copy in copies if cluster is None else ():
                        elsewhere = stack.enter_context(databases.of_copy(copy))
                        if self.opened:
                            await anyio.to_thread.run_sync(elsewhere.open_likely)
                        places.append(await self._place(question, elsewhere, copy.handoff, stack))
                    with reporting(None if question.schedule else question.options.max_schedules) as progress:
                        explorer = Explorer(
                            tuple(call.text for call in calls),
                            _classes(calls),
                            places,
                            _referee(question, calls, self.in_caller, self.loan, self.doubles),
                            _limits(question),
                            end_sessions,
                            progress,
                            partial(_employ, calls, question.options, question.moment),
                            partial(_name, calls),
                            remote,
                            queues=question.options.queues,
                            reuse=_reuse(question, self.doubles),
                        )
                        for thread in cluster.threads if cluster is not None and remote else ():
                            if thread.readiness.problem:
                                explorer.account.note(
                                    f"no runs were made on {thread.address}: {thread.readiness.problem}"
                                )
                        if problem:
                            explorer.account.note(f"one worker made all runs: {problem}")
                        found = await _found(explorer, question)
            except BootFailedError as failure:
                raise _tame(failure.args[0], "Starting the project") from None
        return _Explored(found, calls, explorer.shown, explorer.runs.refused, databases, explorer.runs.locks)

    @asynccontextmanager
    async def _copies(
        self, question: Question, databases: ExploredDatabases, cluster: Cluster | None
    ) -> AsyncIterator[tuple[list[Copy], str]]:
        """The copies that other workers use, and why there are none if there should be."""
        count = len(cluster.threads) if cluster is not None else question.options.places - 1
        if not count or not _has_many_runs(question):
            yield [], ""
            return
        stack, copies, problem = ExitStack(), list[Copy](), ""
        try:
            closed = await self.in_caller(close_connections, self.project.databases)
            try:
                making = copied(self.project.databases, databases.names, count)
                copies = await anyio.to_thread.run_sync(stack.enter_context, making)
            except CopyError as error:
                problem = str(error)
            await self.in_caller(open_connections, closed)
            yield copies, problem
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(stack.close)

    async def _open_remote(
        self, question: Question, databases: ExploredDatabases, cluster: Cluster, copies: Sequence[Copy]
    ) -> list[RemotePlace]:
        """Places on the workers of a cluster, each with one of the copies."""
        options, opened = question.options, databases.opened
        tasks, modules = pack(question.calls, options, stepped=True, moment=question.moment)
        fingerprint = await anyio.to_thread.run_sync(Fingerprint.capture)
        sources = await anyio.to_thread.run_sync(lambda: [sources_of(copy, databases.aliases) for copy in copies])
        module = self.project.module if any(sources) else None
        addresses = await anyio.to_thread.run_sync(addresses_here, module)

        def assignment(copy: Copy, sources: Mapping[str, Source]) -> bytes:
            context = context_of(replace(self.project, databases=copy.handoff), modules, self.doubles, options)
            simple = replace(options, prepare=None, workers=1)
            parts = (fingerprint, context, self.project.key, tasks, simple, copy, files_of(copy), sources, addresses)
            return pickling.dumps(Assignment(*parts, databases.names, databases.aliases, opened))

        made = [await anyio.to_thread.run_sync(assignment, *each) for each in zip(copies, sources, strict=True)]
        threads = await cluster.open(made, sources, max(options.start_up, options.start_timeout))
        return [RemotePlace(thread.address, thread.ask, [*copies[0].settings], opened) for thread in threads]

    async def _place(
        self, question: Question, databases: ExploredDatabases, handoff: Handoff, stack: AsyncExitStack
    ) -> Place:
        """A place on these databases, until the stack is closed."""
        options, project = question.options, replace(self.project, databases=handoff)
        tasks, modules = pack(question.calls, options, stepped=True, moment=question.moment)
        context = context_of(project, modules, self.doubles, options)
        launcher, start_up = await stack.enter_async_context(launching(context, project.key, options, len(tasks)))
        limits = {"start_up": start_up, "limit": options.step_limit}
        staged = staging(launcher, tasks, databases, **limits, deliveries=options.deliveries)
        return Place(await stack.enter_async_context(staged), databases)

    async def measure(
        self, question: Question, found: Counterexample, databases: ExploredDatabases
    ) -> tuple[Remedy, ...]:
        """Explore the calls again in each way that may prevent the race."""
        from django.db import OperationalError

        if not can_be_measured(question):
            return ()
        aliases = aliases_of(found, self.project.databases, databases.named)
        remedies = []
        for way in ways(found) if aliases else ():
            handoff = changed_handoff(self.project.databases, way, aliases)
            session = replace(self, project=replace(self.project, databases=handoff))
            explored = await session.explore(changed_question(question, way, aliases))
            repeats = any(issubclass(each, OperationalError) for each in explored.refused)
            remedies.append(remedy(way, explored.found, repeats=repeats))
        return tuple(remedies)

    async def take_away(self, question: Question) -> Locks:
        """Explore the calls again without each of the locks that they take, and without all that are not needed."""
        whole = await self.explore(without(question, ()))
        refuse_unsafe(whole.found)

        async def explored_without(*sites: LockSite) -> Lock:
            return came_of(sites, (await self.explore(without(question, sites))).found, whole.found)

        sites = taken(whole.locks)
        locks = [await explored_without(site) for site in sites]
        needless = [site for site, lock in zip(sites, locks, strict=True) if lock.needed is False]
        if len(needless) > 1:
            locks.append(await explored_without(*needless))
        return Locks([*locks, *constraints(whole.locks)])


def _reuse(question: Question, doubles: Doubles) -> Reuse:
    """Whether runs are made in the same processes, and why they cannot be."""
    options = question.options
    problem = ""
    if options.places > 1 or options.has_cluster:
        problem = "several workers make them"
    elif options.prepare is not None or doubles.witnesses:
        problem = "each of them is prepared by the test, or has mocks that tell what calls do to them"
    elif options.real_time:
        problem = "the calls have a running clock"
    return Reuse(is_wanted=options.processes == REUSED, problem=problem)


def _limits(question: Question) -> Limits:
    options = question.options
    is_sampling = options.strategy == SAMPLE
    return Limits(options.max_schedules, options.max_seconds, question.preemptions, is_sampling, options.seed)


def _has_many_runs(question: Question) -> bool:
    """Whether its runs can be made at the same time; a rule asks for the caller's own rows."""
    return question.schedule is None and question.check is None


@asynccontextmanager
async def _cluster(question: Question) -> AsyncIterator[Cluster | None]:
    if not (question.options.has_cluster and _has_many_runs(question)):
        yield None
        return
    from .cluster.workers import joined  # where nobody uses dask it is not needed

    async with joined(question.options.workers) as cluster:
        yield cluster


async def _found(explorer: Explorer, question: Question) -> Exploration:
    if question.schedule is not None:
        return await explorer.replay(question.schedule, is_looked_on=own_terminal() is not None)
    return await explorer.explore(question.likely)


def _employ(calls: list[Call], options: Options, moment: int | None) -> bytes:
    """Add a call that makes a task which another enqueues; return what its wrapper is to be sent."""
    calls.append(Call(_MAKES_TASK, (), {}, len(calls) + 1, len(calls) + 1))
    return pack(calls[-1:], options, stepped=True, moment=moment)[0][0]


def _name(calls: list[Call], number: int, text: str) -> None:
    """Call a task by its name."""
    calls[number] = replace(calls[number], title=text, total=len(calls))


def _classes(calls: Sequence[Call]) -> tuple[int, ...]:
    """Number calls so that those with the same function and the same arguments have the same number."""
    pickled = [call.pickle() for call in calls]
    return tuple(pickled.index(each) for each in pickled)


def _referee(question: Question, calls: Sequence[Call], in_caller: InCaller, loan: Loan, doubles: Doubles) -> Referee:
    if question.check is None:
        return Referee(partial(_outcomes_of, calls), question.refusals, question.ignored)
    rule = _Rule(question, calls, in_caller, loan, doubles)
    return Referee(rule.outcomes_of, question.refusals, question.ignored, rule.ask)


def _outcomes_of(calls: Sequence[Call], reports: Sequence[Report], made: Collection[int]) -> Outcomes:
    """What those calls came to that were made; None stands for the others.

    A call that did not even begin has nothing to explore: what kept it from that is raised,
    and so is a mistake of the test that a call came upon.
    """
    for number in made:
        result = reports[number].result
        if result is not None and result.error is not None and result.started is None:
            error = pickling.load_error(result.error)
            error.add_note(f"This was raised while {calls[number]} was {result.phase}.")
            raise _tame(error, str(calls[number]))
    known = [report if number in made else replace(report, result=None) for number, report in enumerate(reports)]
    outcomes = outcomes_of(calls, known)
    for number in set(range(len(calls))) - set(made):
        outcomes[number] = None
    raise_mistakes(calls, outcomes, [report.mistakes for report in known])
    return outcomes


def _tame(error: BaseException, what: str) -> Exception:
    """The error itself, unless it would end the tests or be taken for somebody's Ctrl-C: that is of another process."""
    return error if isinstance(error, Exception) else WrappedError(error, what)


class _Rule:
    """Asks the caller's rule, with all as a run has left it: the rows, the outbox, and the calls of mocks."""

    def __init__(
        self, question: Question, calls: Sequence[Call], in_caller: InCaller, loan: Loan, doubles: Doubles
    ) -> None:
        assert question.check is not None
        self._calls, self._check, self._given = calls, question.check, len(question.calls)
        self._in_caller, self._loan, self._doubles = in_caller, loan, doubles
        self._results: list[Result] = []

    def outcomes_of(self, reports: Sequence[Report], made: Collection[int]) -> Outcomes:
        """What a run came to; the next question is about this one."""
        outcomes = _outcomes_of(self._calls, reports, made)
        self._results = [result for number in sorted(made) if (result := reports[number].result) is not None]
        return outcomes

    async def ask(self, outcomes: Outcomes) -> Violation | None:
        """Ask it."""
        outcomes = Outcomes(list.__getitem__(outcomes, slice(self._given)), outcomes.reports[: self._given])
        await anyio.to_thread.run_sync(self._loan.take_back)
        if not inspect.iscoroutinefunction(self._check):
            return await self._in_caller(self._answer, outcomes)  # type: ignore[no-any-return]
        with self._in_effect():
            try:
                answer = await self._in_caller(self._check, outcomes)
            except AssertionError as failed:
                answer = failed
            return broken_rule(_Answered(self._check, answer), outcomes)

    def _answer(self, outcomes: Outcomes) -> Violation | None:
        with self._in_effect():
            return broken_rule(self._check, outcomes)

    @contextmanager
    def _in_effect(self) -> Iterator[None]:
        """Let this process know of the run in a block."""
        with self._doubles.forgetting(), outbox.forgetting():
            for result in self._results:
                take_effect(result, self._doubles)
            yield


class _Answered:
    """A coroutine function that has given its answer, as a plain rule."""

    def __init__(self, check: Callable[..., Any], answer: object) -> None:
        self.__name__ = getattr(check, "__name__", repr(check))
        self._answer = answer

    def __call__(self, _: Outcomes) -> object:
        if isinstance(self._answer, AssertionError):
            raise self._answer
        return self._answer
