"""Steps a few calls in one order, as exploring does, without its search."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import anyio

from aioconcurrent import _calls, _pickling
from aioconcurrent._project import Project, uses_django
from aioconcurrent.databases import handoff, memory
from aioconcurrent.databases.probes import Probe, open_probe
from aioconcurrent.engine.fork import forking
from aioconcurrent.engine.surroundings import Surroundings
from aioconcurrent.engine.world import Context
from aioconcurrent.engine.wrapper import Task
from aioconcurrent.explore.controller import Controller
from aioconcurrent.explore.steps import Decision
from aioconcurrent.explore.trace import TracedStep

LIMIT = 10.0  # seconds


@dataclass
class Stepped:
    """What came of it: the values or exceptions of the calls, the steps, and what was said of caches."""

    outcomes: list[Any]
    steps: list[TracedStep]
    unshared: set[str]

    def texts(self, call: int | None = None) -> list[str]:
        """The steps as short texts."""
        return [_text(step) for step in self.steps if call in (None, step.call)]


def _text(step: TracedStep) -> str:
    operation = step.operation
    if operation.kind in ("sql", "many"):
        return operation.text.split()[0]
    return f"{operation.kind} {operation.text}".rstrip()


class _InOrder:
    """Lets the calls named go one after the other, then the first that is ready."""

    def __init__(self, order: Iterable[int]) -> None:
        self._order = list(order)

    def choose(self, decision: Decision) -> int | None:
        while self._order:
            if (call := self._order.pop(0)) in decision.ready:
                return call
        return min(decision.ready, default=None)


def stepped(*calls: object, order: Sequence[int] = (), database: str | None = None) -> Stepped:
    """Run the calls, one step at a time in that order."""
    parsed = _calls.parsed(calls)
    tasks, modules = [], set()
    for call in parsed:
        name, pickled = call.pickle()
        modules |= {name.partition(":")[0]} if name else set()
        prepare = _pickling.dump_arguments((None, None), (), "prepare")
        tasks.append(_pickling.dumps(Task(str(call), name, pickled, prepare, "asyncio", False, seed=0)))
    probes = _probes(database)
    try:
        return anyio.run(_step, tasks, tuple(modules), _InOrder(order), probes)
    finally:
        for probe in probes.values():
            probe.close()


def _probes(alias: str | None) -> dict[str, Probe]:
    from django.db import connections

    if alias is None or (probe := open_probe(alias)) is None:
        return {}
    settings = connections[alias].settings_dict
    return {f"{settings['NAME']}@{settings['HOST']}": probe}


async def _step(
    tasks: Sequence[bytes], modules: tuple[str, ...], chooser: _InOrder, probes: dict[str, Probe]
) -> Stepped:
    controller = Controller(probes, LIMIT)
    views = [handoff.look()] if uses_django() else []
    async with memory.lent(views) as lent:
        project = Project.capture(handoff.hand_over(views, lent, allow_real_databases=False)) if views else Project()
        context = Context(Surroundings.capture(), _pickling.dumps(project), modules)
        async with forking(context, project.key, limit=LIMIT * 3) as launcher:
            attendances = [
                controller.attend(number, wrapper) for number, wrapper in enumerate(await launcher.launch(len(tasks)))
            ]
            async with anyio.create_task_group() as group:
                for attendance, task in zip(attendances, tasks, strict=True):
                    group.start_soon(attendance.drain)
                    group.start_soon(attendance.run, task)
                for attendance in attendances:
                    await attendance.arrived.wait()
                await controller.run(chooser)
    return Stepped([_outcome(attendance.report) for attendance in attendances], controller.trace, controller.unshared)


def _outcome(report: Any) -> Any:
    result = report.result
    if result is None:
        return RuntimeError(f"no result; {report.problem}; {report.output}")
    return _pickling.loads(result.value) if result.error is None else _pickling.load_error(result.error)
