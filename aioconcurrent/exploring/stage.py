"""Where runs take place: each in fresh wrappers, those of the next one made ready while one runs."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from .. import _clock as time
from ..engine.launch import serving
from .controller import (
    STEPS,
    CallDiedError,
    Controller,
    EndlessError,
    OutdatedRunError,
    RunGivenUpError,
    UnknownDatabaseError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    from .._trace import Step
    from ..engine.launch import Launcher
    from ..engine.race import Attendance, Report
    from .controller import Chooser
    from .databases import ExploredDatabases


@dataclass(frozen=True)
class Performance:
    """How one run went.

    Attributes:
        prelude: What made the calls ready.
        steps: What was done, in the order in which it was let go.
        reports: One per call; each is final when its process has ended, see `Stage.close_curtain`.
        problem: Why the run was given up before its end; empty if it was not.
        is_endless: Whether it would have gone on for ever.
        dead: The call whose process ended before the call did, if one did while it stood still.
        unknown: The `Operation.database` of one that has to be opened before the run can be made.
        outdated: The run has to be made again with what is known now.
        unshared: Which caches the calls used that no other process sees, a sentence each.
        unseen: What could not be seen of the run, a sentence each; with any, "no race" is not exhaustive.
    """

    prelude: Sequence[Step]
    steps: Sequence[Step]
    reports: Sequence[Report]
    problem: str = ""
    is_endless: bool = False
    dead: int | None = None
    unknown: str = ""
    outdated: bool = False
    unshared: frozenset[str] = frozenset()
    unseen: frozenset[str] = frozenset()


class _Cast:
    """One wrapper for each call, on their way to the barrier."""

    def __init__(self, controller: Controller, attendances: Sequence[Attendance]) -> None:
        self.controller = controller
        self.attendances = attendances
        self._left = len(attendances)
        self.has_gone = anyio.Event()

    async def attend(self, attendance: Attendance, task: bytes) -> None:
        try:
            await attendance.run(task)
        finally:
            self._left -= 1
            if not self._left:
                self.has_gone.set()

    async def arrive(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            for attendance in self.attendances:
                await attendance.arrived.wait()

    async def leave(self) -> None:
        for attendance in self.attendances:
            await attendance.dismiss()

    def give_up(self) -> None:
        for attendance in self.attendances:
            attendance.give_up()


class Stage:
    """Puts on the same calls again and again.

    Args:
        tasks: One pickled `Task` per call.
        databases: For the controllers.
        start_up: How long wrappers may take until all are ready, in seconds.
        limit: How long one step may take, in seconds.
    """

    def __init__(
        self,
        launcher: Launcher,
        tasks: Sequence[bytes],
        databases: ExploredDatabases,
        *,
        start_up: float,
        limit: float,
        group: anyio.abc.TaskGroup,
    ) -> None:
        self._launcher = launcher
        self._tasks = tasks
        self._databases = databases
        self._start_up = start_up
        self._limit = limit
        self._group = group
        self._next: _Cast | None = None
        self._last: _Cast | None = None

    async def perform(
        self, chooser: Chooser, calls: Collection[int], deadline: float, limit: int = STEPS
    ) -> Performance:
        """Run these calls in the order that the chooser says.

        Args:
            deadline: When to give the run up, in seconds of `anyio.current_time`.
            limit: How many steps it may have.
        """
        cast = self._last = self._next or await self._prepare()
        begun = time.monotonic()
        await cast.arrive(self._start_up)
        self._next = await self._prepare()
        problem, is_endless, dead, unknown, outdated = "", False, None, "", False
        with anyio.move_on_at(deadline) as scope:
            try:
                await cast.controller.run(chooser, calls, limit)
            except RunGivenUpError as given_up:
                problem = str(given_up)
            except EndlessError:
                is_endless = True
            except CallDiedError as died:
                dead = died.args[0]
            except UnknownDatabaseError as new:
                unknown = new.args[0]
            except OutdatedRunError:
                outdated = True
        if scope.cancelled_caught:
            problem = f"the time was over in the middle of a run that had taken {time.monotonic() - begun:.1f} s"
        if problem or is_endless or unknown or outdated or dead is not None:
            cast.give_up()
            await cast.has_gone.wait()
        return Performance(
            prelude=cast.controller.prelude,
            steps=cast.controller.trace,
            reports=[each.report for each in cast.attendances],
            problem=problem,
            is_endless=is_endless,
            dead=dead,
            unknown=unknown,
            outdated=outdated,
            unshared=frozenset(cast.controller.unshared),
            unseen=frozenset(cast.controller.unseen),
        )

    async def close_curtain(self) -> None:
        """Wait until the processes of the last run have ended and its reports are final."""
        if self._last is not None:
            await self._last.has_gone.wait()

    async def _prepare(self) -> _Cast:
        controller = Controller(self._databases, self._limit)
        wrappers = await self._launcher.launch(len(self._tasks))
        cast = _Cast(controller, [controller.attend(number, wrapper) for number, wrapper in enumerate(wrappers)])
        for attendance, task in zip(cast.attendances, self._tasks, strict=True):
            attendance.report.limit = self._start_up
            self._group.start_soon(attendance.drain)
            self._group.start_soon(cast.attend, attendance, task)
        return cast

    @property
    def reports(self) -> list[Report]:
        """Those of the last run, and of the wrappers that were made ready for one more."""
        return [each.report for cast in (self._last, self._next) if cast is not None for each in cast.attendances]

    async def aclose(self, *, in_order: bool) -> None:
        """See the wrappers gone that are still there: those of a run that was left, and those nobody will need.

        Args:
            in_order: Whether the latter may take the time that they need to be dismissed.
        """
        for cast in filter(None, (self._last, None if in_order else self._next)):
            cast.give_up()
        if self._next is not None and in_order:
            await self._next.arrive(self._start_up)
            await self._next.leave()
        for cast in filter(None, (self._last, self._next)):
            await cast.has_gone.wait()


@asynccontextmanager
async def staging(
    launcher: Launcher, tasks: Sequence[bytes], databases: ExploredDatabases, *, start_up: float, limit: float
) -> AsyncIterator[Stage]:
    """Have a stage; when the block is left, no process of it is alive."""
    async with serving() as group:
        stage = Stage(launcher, tasks, databases, start_up=start_up, limit=limit, group=group)
        try:
            yield stage
        except BaseException:
            group.cancel_scope.cancel()
            raise
