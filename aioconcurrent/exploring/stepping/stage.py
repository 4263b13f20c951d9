"""Where one place makes its runs: the same calls, one run after the other.

Each is made in fresh wrappers, or in those that have stayed.  Fresh ones are made ready while another run is made.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from ...base import own_clock as time
from ...base import pickling
from ...engine.launch import serving
from ..orders.schedule import STEPS
from .controller import OVERTIME, Controller, Scripts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence

    from anyio.abc import TaskGroup

    from ...engine.attendance import Attendance, Report
    from ...engine.launch import Launcher
    from ...engine.wrapper import Task
    from .controller import Attempt, Chooser
    from .stepped_databases import ExploredDatabases


class Stage:
    """Runs the same calls again and again, each time in fresh wrappers, or in those that have stayed.

    Args:
        tasks: One pickled `Task` per call.
        databases: That they may change.
        start_up: How long wrappers may take until all are ready, in seconds.
        limit: How long one step may take, in seconds.
        deliveries: How often a task comes that was enqueued once.

    Attributes:
        enqueuers: Of each wrapper that makes a task, the call that enqueues it.
        is_quiet: Whether nobody may stop in the calls, whatever `breakpoint()` they have.
        is_alone: Whether no other stage is in use.
        keeps: Whether wrappers stay from one run to the next, as far as they can.
    """

    def __init__(
        self,
        launcher: Launcher,
        tasks: Sequence[bytes],
        databases: ExploredDatabases,
        *,
        start_up: float,
        limit: float,
        deliveries: int,
        group: TaskGroup,
    ) -> None:
        self._launcher = launcher
        self._tasks = list(tasks)
        self._deliveries = deliveries
        self.enqueuers: dict[int, int] = {}
        self._databases = databases
        self._start_up = start_up
        self._limit = limit
        self._group = group
        self.is_quiet = False
        self.is_alone = False
        self.keeps = False
        self._scripts = Scripts()
        self._next: Controller | None = None
        self._last: Controller | None = None

    async def perform(self, chooser: Chooser, calls: Collection[int], deadline: float, limit: int = STEPS) -> Attempt:
        """Run these calls in the order that the chooser says.

        Args:
            deadline: When to give the run up, in seconds of `anyio.current_time`.
            limit: How many steps it may have.
        """
        controller = self._last = self._next or await self._prepare()
        controller.is_alone = self.is_alone
        begun = time.monotonic()
        await controller.arrive(self._start_up)
        self._next = None if self.keeps else await self._prepare()
        with anyio.move_on_at(deadline) as scope:
            await controller.run(chooser, calls, limit, quiet=self.is_quiet)
        controller.own_up()
        attempt = controller.attempt
        if scope.cancelled_caught:
            seconds = time.monotonic() - begun
            attempt.problem = f"{OVERTIME} that had taken {seconds:.1f} s"
        if not attempt.is_whole:
            controller.give_up()
            await controller.has_gone.wait()
        if self.keeps:
            await controller.has_gone.wait()
            self._next = await self._prepare(controller.staying)
        return attempt

    async def begin_keeping(self) -> None:
        """Have wrappers stay from now on."""
        await self._dismiss_next()
        self._set_keeping(keeps=True)

    async def stop_keeping(self) -> None:
        """Have each run made in fresh wrappers again."""
        await self._dismiss_next()
        self._set_keeping(keeps=False)

    def _set_keeping(self, *, keeps: bool) -> None:
        self.keeps = keeps
        tasks: list[Task] = list(map(pickling.loads, self._tasks))
        self._tasks = [pickling.dumps(replace(task, stays=keeps)) for task in tasks]

    async def add(self, task: bytes, enqueuer: int) -> None:
        """Have one more wrapper in each run, for a task that this call enqueues."""
        self.enqueuers = {**self.enqueuers, len(self._tasks): enqueuer}
        self._tasks.append(task)
        await self._dismiss_next()

    async def _dismiss_next(self) -> None:
        """Let the wrappers end that were made ready."""
        if self._next is not None:
            await self._next.arrive(self._start_up)
            await self._next.dismiss()
            await self._next.has_gone.wait()
            await self._next.end_staying()
            self._next = None

    async def see_gone(self) -> None:
        """Wait until the processes of the last run have ended and its reports are final."""
        if self._last is not None:
            await self._last.has_gone.wait()

    async def _prepare(self, staying: Mapping[int, Attendance] | None = None) -> Controller:
        """Make wrappers ready for a run: those that have stayed, by the numbers of their calls, and fresh ones."""
        staying = staying or {}
        fresh = iter(await self._launcher.launch(len(self._tasks) - len(staying)))
        wrappers = [staying[number] if number in staying else next(fresh) for number in range(len(self._tasks))]
        given = wrappers, self.enqueuers, self._deliveries
        controller = Controller(self._databases, self._limit, *given, keeps=self.keeps, scripts=self._scripts)
        controller.begin(self._group, self._tasks, self._start_up)
        return controller

    @property
    def reports(self) -> list[Report]:
        """Those of the last run, and of the wrappers that were made ready for one more."""
        return [report for each in (self._last, self._next) if each is not None for report in each.attempt.reports]

    async def aclose(self, *, in_order: bool) -> None:
        """See the wrappers gone that are still there: those of a run that was left, and those nobody will need.

        Args:
            in_order: Whether the latter may take the time that they need to be dismissed.
        """
        for controller in filter(None, (self._last, None if in_order else self._next)):
            controller.give_up()
        if self._next is not None and in_order:
            await self._next.arrive(self._start_up)
            await self._next.dismiss()
        for controller in filter(None, (self._last, self._next)):
            await controller.has_gone.wait()
            await controller.end_staying()


@asynccontextmanager
async def staging(
    launcher: Launcher,
    tasks: Sequence[bytes],
    databases: ExploredDatabases,
    *,
    start_up: float,
    limit: float,
    deliveries: int = 1,
) -> AsyncIterator[Stage]:
    """Have a stage; when the block is left, no process of it is alive."""
    async with serving() as group:
        stage = Stage(launcher, tasks, databases, start_up=start_up, limit=limit, deliveries=deliveries, group=group)
        try:
            yield stage
        except BaseException:
            group.cancel_scope.cancel()
            raise
