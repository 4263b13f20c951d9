"""Races, from checked calls to outcomes: the implementation behind the awaitable and the blocking API."""

from __future__ import annotations

import logging
import sys
import warnings
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from .._text import printable
from ..base import pickling
from ..base.calls import by_value_modules, import_name
from ..base.loops import current_backend
from ..base.own_clock import ticking_loop
from ..databases import handoff, in_memory, sessions
from ..databases.probes import WaitRecorder, with_waits
from ..databases.watching.recording import recorded_steps
from ..doubles import outbox
from ..doubles.transfer import Doubles
from ..engine.attendance import Report, race
from ..engine.fork import BootFailedError, UnfitError, forking
from ..engine.launch import spawning
from ..engine.network import Reach
from ..engine.protocol import Kind
from ..engine.surroundings import Surroundings, findable
from ..engine.wall_clock import WallClock
from ..engine.world import Context
from ..engine.wrapper import Task
from ..exceptions import ProcessDiedError, TemplateWarning, TerminatedProcessError, UnpicklableError, WrappedError
from ..results import unread
from ..results.outcomes import CallReport, Outcomes
from .options import processors
from .project import Project, uses_django
from .question import SPACING, raise_mistakes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence

    from ..base.calls import Call
    from ..databases.handoff import Handoff, View
    from ..databases.probes import Wait
    from ..engine.launch import Launcher
    from ..engine.wrapper import Result
    from .options import Options

    InCaller = Callable[..., Awaitable[Any]]

_STEPPING = ("aioconcurrent.databases.watching.install", "aioconcurrent.engine.chance")
_TIME_TRAVEL = "aioconcurrent.engine.chance"
_SPAWNING = 1.0  # seconds more to start up for each interpreter
_SESSIONS = 15.0  # seconds for ending what killed wrappers left on the servers


async def run_race(
    calls: Sequence[Call], options: Options, views: Sequence[View], in_caller: InCaller
) -> Outcomes[Any]:
    """Run the calls at the same moment, each in a process of its own.

    Args:
        views: Of the caller's connections, one per thread that may have any.
        in_caller: Runs a function where the caller's connections are, outside of any event loop.

    Raises:
        UnpicklableError: An argument, a setting or `prepare` cannot travel.
        DatabaseInMemoryLockedError: A database in memory could not be lent or taken back.
        UncommittedDataError: And others that are mistakes of the test, see `question.py`.
    """
    with ticking_loop(), findable(mentioned(calls, options)):
        return await _run(calls, options, views, in_caller)


async def _run(calls: Sequence[Call], options: Options, views: Sequence[View], in_caller: InCaller) -> Outcomes:
    tasks, modules = pack(calls, options)
    doubles = Doubles.capture(leave_behind=options.prepare is not None)
    reports: list[Report] = []
    unstarted: BaseException | None = None
    try:
        async with in_memory.lent(views) as lent:
            project = capture(views, lent, options)
            context = context_of(project, modules, doubles, options)
            try:
                async with launching(context, project.key, options, len(tasks)) as (launcher, start_up):
                    wrappers = await launcher.launch(len(tasks))
                    async with _watching(project.databases, options, reports) as waits:
                        await race(wrappers, tasks, reports, start_up=start_up, timeout=options.timeout)
            except BootFailedError as failure:
                unstarted = failure.args[0]
            finally:
                await end_sessions(reports)
    finally:
        with anyio.CancelScope(shield=True):  # when a database in memory is the caller's again
            await in_caller(relay, calls, reports, doubles)
    outcomes = _without_project(calls, unstarted) if unstarted else outcomes_of(calls, reports, waits)
    unread.note(outcomes)
    raise_mistakes(calls, outcomes, [report.mistakes for report in reports])
    return outcomes


def context_of(project: Project, modules: tuple[str, ...], doubles: Doubles, options: Options) -> Context:
    """What calls need of this process as it is now."""
    clock = WallClock.capture()
    modules = (*modules, *doubles.modules, *([_TIME_TRAVEL] if clock else []))
    return Context(
        Surroundings.capture(),
        pickling.dumps(project),
        modules,
        access=Reach.capture(options.allow_network),
        clock=clock,
        doubles=doubles.pickled,
        allowed_threads=tuple(options.allow_threads),
        start_timeout=options.start_timeout,
    )


@asynccontextmanager
async def _watching(databases: Handoff, options: Options, reports: Sequence[Report]) -> AsyncIterator[list[Wait]]:
    """Find out who waits for locks in the block, if calls are recorded."""
    if not options.record or not databases.pickled:
        yield []
        return

    def announced() -> list[bytes]:
        return [session for report in reports for session in report.sessions]

    with WaitRecorder(databases.settings(), databases.likely, announced) as recorder:
        await anyio.to_thread.run_sync(recorder.wait_until_ready)
        yield recorder.waits


@asynccontextmanager
async def launching(
    context: Context, key: object, options: Options, count: int
) -> AsyncIterator[tuple[Launcher, float]]:
    """Start wrappers in the way that the options say, or that is possible.

    Yields:
        The launcher, and how long `count` wrappers may take until all are ready, in seconds.

    Raises:
        BootFailedError: The project does not start.
    """
    async with AsyncExitStack() as stack:
        launcher: Launcher | None = None
        if options.start_method == "fork":
            try:
                launcher = await stack.enter_async_context(forking(context, key))
            except UnfitError as reason:
                _warn_of(reason)
        if launcher is not None:
            yield launcher, options.start_up
        else:
            launcher = await stack.enter_async_context(spawning(context))
            yield launcher, max(options.start_up, options.start_timeout) + _SPAWNING * count


def _warn_of(unfit: UnfitError) -> None:
    reason, advice = unfit.args
    warnings.warn(
        f"Processes cannot be forked from a template, because {reason}. Each call starts an interpreter of "
        f'its own instead, which is slower. {advice} Set the option start_method to "spawn" to do so without '
        "this warning.",
        TemplateWarning,
        stacklevel=2,
    )


def mentioned(calls: Sequence[Call], options: Options) -> Iterator[object]:
    """All that has to be found in the processes of the calls."""
    yield options.prepare
    for call in calls:
        yield from (call.function, *call.args, *call.kwargs.values())


def pack(
    calls: Sequence[Call], options: Options, *, stepped: bool = False, moment: int | None = None
) -> tuple[list[bytes], tuple[str, ...]]:
    """Return a pickled task for each call, and the modules that wrappers import.

    Args:
        moment: Where the clock of the first stepped call stands; None for real ones.
    """
    backend, alone, prepare = current_backend() or "asyncio", len(calls) <= processors(), _pack_prepare(options)
    packed: dict[tuple[int, int, int], tuple[str | None, bytes]] = {}  # equal calls share all their parts
    tasks = []
    for call in calls:
        key = id(call.function), id(call.args), id(call.kwargs)
        if key not in packed:
            packed[key] = call.pickle()
        step = call.number if stepped else None
        stands = None if moment is None else moment + (call.number - 1) * SPACING
        record = options.record and not stepped
        tasks.append(pickling.dumps(Task(str(call), *packed[key], prepare, backend, alone, step, stands, record)))
    modules = {name.partition(":")[0] for name, _ in packed.values() if name}
    modules = modules.union(*(call.modules for call in calls))
    return tasks, (*sorted(modules), *(_STEPPING if stepped else ()))


def _pack_prepare(options: Options) -> bytes:
    prepare = options.prepare
    name = prepare if isinstance(prepare, str) else import_name(prepare) if prepare else None
    by_value = None if name else prepare
    return pickling.dump_arguments((name, by_value), by_value_modules([prepare]), "The option prepare")


def capture(views: Sequence[View], lent: Mapping[str, str], options: Options) -> Project:
    """Take note of the project of this process, if it has one."""
    if not uses_django():
        return Project()
    databases = handoff.hand_over(views, lent, allow_real_databases=options.allow_real_databases)
    return Project.capture(databases, views[0])


async def end_sessions(reports: Sequence[Report]) -> None:
    """End on the server what wrappers that did not end in order were doing there.

    Where that cannot be done, it is told: it is no reason to lose what the calls came to.
    """
    left = [pickling.loads(session) for report in reports if report.result is None for session in report.sessions]
    if left:
        with anyio.move_on_after(_SESSIONS, shield=True):
            for problem in await anyio.to_thread.run_sync(sessions.end_sessions, left, abandon_on_cancel=True):
                warnings.showwarning(problem, RuntimeWarning, __file__, 0)


def relay(calls: Sequence[Call], reports: Sequence[Report], doubles: Doubles) -> None:
    """Let this process print, log and warn what the calls did, and know of what they sent and of its mocks.

    What cannot be rebuilt here is told instead.  A handler of the project may do anything that the
    caller may, such as to write to the database: to be called where the caller's connections are.
    """
    records: list[logging.LogRecord] = []
    for call, report in zip(calls, reports, strict=False):
        if report.result is not None:
            take_effect(report.result, doubles)
        _echo(str(report.output))
        if report.messages.left_out:
            left_out = f"{report.messages.left_out:,} log records and warnings of {call}, in the middle, are left out."
            warnings.showwarning(left_out, RuntimeWarning, __file__, 0)
        for frame in (*report.messages.first, *report.messages.last):
            try:
                message = pickling.load_from_call(frame.payload)
            except pickling.UnreadableError as problem:
                text = f"A {frame.kind.name.lower()} of {call} cannot be rebuilt in this process: {problem}"
                warnings.showwarning(printable(text), RuntimeWarning, __file__, 0)
                continue
            if frame.kind is Kind.LOG:
                records.append(logging.makeLogRecord({**message, "concurrent_call": call.number}))
            else:
                warnings.showwarning(*message)
    for record in sorted(records, key=lambda record: record.created):
        logging.getLogger(record.name).handle(record)


def take_effect(result: Result, doubles: Doubles) -> None:
    """Let this process know of what a call has sent, and of what it did to the test's doubles, where it can."""
    doubles.absorb(result.doubles)
    outbox.receive(result.sent)


def _echo(output: str) -> None:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    sys.stdout.write(output.encode(encoding, errors="replace").decode(encoding))


def _without_project(calls: Sequence[Call], error: BaseException) -> Outcomes[Any]:
    """Every call fails as the project does."""
    error.add_note("This was raised while the project was started in a process of its own, before the calls began.")
    reports = [CallReport(str(call), None, None, None, None, "") for call in calls]
    return Outcomes([WrappedError(error, str(call)) for call in calls], reports)


def outcomes_of(calls: Sequence[Call], reports: Sequence[Report], waits: Sequence[Wait] = ()) -> Outcomes[Any]:
    """What the calls came to, by their reports."""
    outcomes = [_outcome(call, report) for call, report in zip(calls, reports, strict=True)]
    told = [_report(number, *each) for number, each in enumerate(zip(calls, reports, strict=True))]
    steps = with_waits([report.steps for report in told], waits)
    return Outcomes(outcomes, [replace(report, steps=these) for report, these in zip(told, steps, strict=True)])


def _outcome(call: Call, report: Report) -> Any:
    result, output, phase = report.result, str(report.output), "running" if report.released else "starting"
    if report.timed_out:
        terminated = TerminatedProcessError(str(call), report.pid, report.limit, phase, output)
        return WrappedError(terminated, str(call))
    if result is None:
        output += f"\n{report.problem}" if report.problem else ""
        died = ProcessDiedError(str(call), report.pid, report.exit_status, phase, output, report.silence)
        return WrappedError(died, str(call))
    if result.error is not None:
        error = pickling.load_error(result.error)
        if result.phase != "running":
            error.add_note(f"This was raised while {call} was {result.phase}.")
        return WrappedError(error, str(call))
    assert result.value is not None
    try:
        return pickling.load_from_call(result.value)
    except pickling.UnreadableError as problem:
        return WrappedError(UnpicklableError(f"What {call} returned", str(problem)), str(call))


def _report(number: int, call: Call, report: Report) -> CallReport:
    started, finished = (report.result.started, report.result.finished) if report.result else (report.released, None)
    steps, left_out = recorded_steps(number, report.recorded)
    output = str(report.output)
    return CallReport(str(call), report.pid, started, finished, report.exit_status, output, steps, left_out)
