"""Explorations, from checked calls to a verdict: the one core under the async API and the sync facade."""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from . import _latest, _pickling
from ._outcomes import Outcomes
from ._race import capture, end_sessions, launching, mentioned, outcomes_of, pack, relay
from .databases import memory
from .databases.explored import ExploredDatabases
from .engine.fork import BootFailedError
from .engine.loaded import findable
from .engine.surroundings import Surroundings
from .engine.world import Context
from .exceptions import UncommittedDataError
from .exploring.explorer import Explorer, Limits, Referee
from .exploring.oracle import broken_rule
from .exploring.stage import staging
from .report.progress import reporting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from ._calls import Call
    from ._question import Question
    from .databases.handoff import Handoff, View
    from .databases.memory import Loan
    from .engine.race import Report
    from .exploring.exploration import Exploration
    from .exploring.oracle import Violation
    from .exploring.schedule import Schedule

    InCaller = Callable[..., Awaitable[Any]]

_STEP = 10.0  # seconds for one step, or less if a call may take less


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
    """
    with findable(mentioned(question.calls, question.options)):
        return await _run(question, views, in_caller)


async def _run(question: Question, views: Sequence[View], in_caller: InCaller) -> Exploration:
    calls, options = question.calls, question.options
    tasks, modules = pack(calls, options, stepped=True, moment=question.moment)
    async with memory.lent(views) as loan:
        project = replace(capture(views, loan, options), stepped=True)
        _refuse_uncommitted(project.databases)
        context = Context(Surroundings.capture(), _pickling.dumps(project), modules)
        with ExploredDatabases(project.databases) as databases:
            await anyio.to_thread.run_sync(databases.identify)
            if any(view.opened for view in views):
                await anyio.to_thread.run_sync(databases.open_likely)
            try:
                async with (
                    launching(context, project.key, options, len(tasks)) as (launcher, start_up),
                    staging(launcher, tasks, databases, start_up=start_up, limit=min(_STEP, options.timeout)) as stage,
                ):
                    limits = Limits(options.max_schedules, options.max_seconds, question.preemptions)
                    referee = _referee(question, in_caller, loan)
                    texts = tuple(call.text for call in calls)
                    with reporting(options.max_schedules) as progress:
                        explorer = Explorer(
                            texts, _classes(calls), stage, databases, referee, limits, end_sessions, progress
                        )
                        found = await _found(explorer, question.schedule)
            except BootFailedError as failure:
                raise failure.args[0] from None
            relay(calls, explorer.shown)
    return _latest.note(found)


async def _found(explorer: Explorer, schedule: Schedule | None) -> Exploration:
    return await (explorer.explore() if schedule is None else explorer.replay(schedule))


def _classes(calls: Sequence[Call]) -> tuple[int, ...]:
    """Of each call the first that is the same function with the same arguments."""
    pickled = [call.pickle() for call in calls]
    return tuple(pickled.index(each) for each in pickled)


def _refuse_uncommitted(databases: Handoff) -> None:
    for alias in sorted(databases.uncommitted):
        raise UncommittedDataError(alias)


def _referee(question: Question, in_caller: InCaller, loan: Loan) -> Referee:
    rule = partial(_ask, question.check, in_caller, loan) if question.check is not None else None
    return Referee(partial(_outcomes_of, question.calls), question.refusals, question.ignored, rule)


def _outcomes_of(calls: Sequence[Call], reports: Sequence[Report], made: Collection[int]) -> Outcomes:
    """What those calls came to that were made; None stands for the others.

    A call that did not even begin has nothing to explore: what kept it from that is raised.
    """
    for number in made:
        result = reports[number].result
        if result is not None and result.error is not None and result.started is None:
            error = _pickling.load_error(result.error)
            error.add_note(f"This was raised while {calls[number]} was {result.phase}.")
            raise error
    known = [report if number in made else replace(report, result=None) for number, report in enumerate(reports)]
    outcomes = outcomes_of(calls, known)
    for number in set(range(len(calls))) - set(made):
        outcomes[number] = None
    return outcomes


async def _ask(
    check: Callable[[Outcomes], Any], in_caller: InCaller, loan: Loan, outcomes: Outcomes
) -> Violation | None:
    """Ask the caller's rule, with the database as the run has left it."""
    await anyio.to_thread.run_sync(loan.take_back)
    if not inspect.iscoroutinefunction(check):
        return await in_caller(broken_rule, check, outcomes)  # type: ignore[no-any-return]
    try:
        answer = await check(outcomes)
    except AssertionError as failed:
        answer = failed
    return broken_rule(_Answered(check, answer), outcomes)


class _Answered:
    """A coroutine function that has given its answer, as a plain rule."""

    def __init__(self, check: Callable[..., Any], answer: object) -> None:
        self.__name__ = getattr(check, "__name__", repr(check))
        self._answer = answer

    def __call__(self, _: Outcomes) -> object:
        if isinstance(self._answer, AssertionError):
            raise self._answer
        return self._answer
