"""Steps a few calls in one order, as exploring does, without its search."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import anyio
import anyio.to_thread

from aioconcurrent.base import pickling
from aioconcurrent.base.calls import Call, parsed
from aioconcurrent.base.trace import Step
from aioconcurrent.databases import handoff, in_memory
from aioconcurrent.engine.attendance import Report
from aioconcurrent.engine.surroundings import Surroundings
from aioconcurrent.engine.world import Context
from aioconcurrent.exploring.orders.standings import Decision
from aioconcurrent.exploring.stepping.stage import staging
from aioconcurrent.exploring.stepping.stepped_databases import ExploredDatabases
from aioconcurrent.running.options import current_options
from aioconcurrent.running.project import uses_django
from aioconcurrent.running.race import capture, launching, pack

LIMIT = 10.0  # seconds


@dataclass
class Stepped:
    """What came of it: the values or exceptions of the calls, the steps, and what was said of caches."""

    outcomes: list[Any]
    steps: list[Step]
    unshared: set[str]

    def texts(self, call: int | None = None) -> list[str]:
        """The steps as short texts."""
        return [_text(step) for step in self.steps if call in (None, step.call)]


def _text(step: Step) -> str:
    operation = step.operation
    if operation.kind in ("sql", "many"):
        return operation.text.split()[0]
    return f"{operation.kind} {operation.text}".rstrip()


class _InOrder:
    """Lets all calls begin, then those named go one after the other, then the first that is ready."""

    def __init__(self, order: Iterable[int]) -> None:
        self._order = list(order)

    def choose(self, decision: Decision) -> int | None:
        for call, operation in decision.ready.items():
            if operation.kind == "start":
                return call
        while self._order:
            if (call := self._order.pop(0)) in decision.ready:
                return call
        return min(decision.ready, default=None)

    def certain(self, call: int) -> int:
        return 0


def stepped(*calls: object, order: Sequence[int] = (), database: str = "") -> Stepped:
    """Run the calls, one step at a time in that order.

    Args:
        database: The alias of the one that they use, if they use any.
    """
    return anyio.run(_step, parsed(calls), _InOrder(order), database)


async def _step(calls: Sequence[Call], chooser: _InOrder, database: str) -> Stepped:
    options = current_options()
    tasks, modules = pack(calls, options, stepped=True)
    views = [handoff.look()] if uses_django() else []
    async with in_memory.lent(views) as lent:
        project = capture(views, lent, options)
        context = Context(Surroundings.capture(), pickling.dumps(project), modules)
        with ExploredDatabases(project.databases) as databases:
            if database:
                await anyio.to_thread.run_sync(
                    databases.open, handoff.database_identity(project.databases.settings()[database])
                )
            async with (
                launching(context, project.key, options, len(tasks)) as (launcher, start_up),
                staging(launcher, tasks, databases, start_up=start_up, limit=LIMIT) as stage,
            ):
                attempt = await stage.perform(chooser, range(len(tasks)), deadline=inf)
                await stage.see_gone()
                await stage.aclose(in_order=True)
    assert attempt.is_whole, attempt
    return Stepped([_outcome(report) for report in attempt.reports], attempt.steps, attempt.unshared)


def _outcome(report: Report) -> Any:
    result = report.result
    if result is None:
        return RuntimeError(f"no result; {report.problem}; {report.output}")
    if result.error is not None:
        return pickling.load_error(result.error)
    assert result.value is not None
    return pickling.loads(result.value)
