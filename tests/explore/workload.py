"""Programs for these databases, and the controller that steps them.

A program is a generator: it yields what it asks the database to do, and is sent
the result or thrown the error.  `Client` has the vocabulary; its texts are what
Django would send, so that the footprints read real SQL.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from random import Random
from tempfile import gettempdir
from typing import Any

from aioconcurrent.base.trace import LATER, START, Operation, Step
from aioconcurrent.databases.schema import Catalogue, Keys
from aioconcurrent.exploring.orders.dependence import StatementResult
from aioconcurrent.exploring.orders.footprint import footprint
from aioconcurrent.exploring.orders.schedule import preemptions
from aioconcurrent.exploring.orders.search import Search
from aioconcurrent.exploring.orders.standings import Decision
from aioconcurrent.exploring.orders.walk import Walk
from aioconcurrent.exploring.stepping.moments import Moments

from .host import Body, Change, DatabaseError, Row, Schema, Session
from .simulated import Server
from .sqlite_file import File

Steps = Generator["Request", Any, Any]
Program = Callable[["Client"], Steps]
Splitting = Callable[[Operation], Operation]
Outcome = tuple[Any, ...]

# Thousands of small files: in memory where the system has such a place.
_DIRECTORY = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path(gettempdir())


@dataclass(frozen=True)
class Engine:
    vendor: str
    isolation: str = "read committed"
    immediate: bool = False
    wal: bool = False
    wake: int | None = None  # seed of the order in which waiters are woken

    def host(self, schema: Schema, clients: int, run: int) -> Server | File:
        if self.vendor == "sqlite":
            return File(schema, clients, _DIRECTORY / f"aioconcurrent-{os.getpid()}.db", wal=self.wal)
        wake = Random(self.wake + run) if self.wake is not None else None
        return Server(schema, clients, self.vendor, self.isolation, wake)


POSTGRESQL = Engine("postgresql")
MYSQL = Engine("mysql")
SQLITE = Engine("sqlite")


@dataclass(frozen=True)
class Scenario:
    schema: Schema
    programs: tuple[Program, ...]
    tasks: frozenset[int] = frozenset()  # programs that begin only when another has enqueued them

    @cached_property
    def catalogue(self) -> Catalogue:
        schema = self.schema
        cascades: dict[str, set[str]] = {}
        for child in schema.cascading:
            cascades.setdefault(schema.foreign[child], set()).add(child)
        return Catalogue(
            tables=frozenset(schema.rows),
            parents={child: frozenset({parent}) for child, parent in schema.foreign.items()},
            cascades={parent: frozenset(children) for parent, children in cascades.items()},
            opaque=frozenset(schema.triggers),
            uniques={table: frozenset(map(frozenset, schema.keys(table))) for table in schema.rows},
            keys={
                table: Keys(
                    kinds={"id": "integer", "parent": "integer", "name": "text"},
                    uniques=frozenset(map(frozenset, schema.keys(table))),
                    is_closed=True,
                    automatic="id",
                    references=(("parent", schema.foreign[table], "id"),) if table in schema.foreign else (),
                )
                for table in schema.rows
            },
        )


@dataclass(frozen=True)
class Request:
    operation: Operation
    body: Callable[[], Body]


class Client:
    """One call's connection."""

    def __init__(self, host: Any, session: Any, engine: Engine) -> None:
        self.host = host
        self.session = session
        self.engine = engine
        self.index: int = session.number
        self.log: list[Any] = []
        self.enqueued: dict[int, Operation] = {}
        self._savepoints = 0
        self._open = False

    def select(self, table: str, **where: Any) -> Request:
        text = f'SELECT * FROM "{table}"{_conditions(where)}'
        return self._sql(text, where, partial(self.host.select, self.session, table, where))

    def lock(self, table: str, *, exclusive: bool = True, busy: str = "", **where: Any) -> Request:
        """SELECT ... FOR UPDATE, which Django leaves out on SQLite."""
        mode = f" FOR {'UPDATE' if exclusive else 'SHARE'} {busy.upper()}" if self.engine.vendor != "sqlite" else ""
        text = f'SELECT * FROM "{table}"{_conditions(where)}{mode}'
        body = partial(self.host.lock, self.session, table, where, exclusive=exclusive, busy=busy)
        return self._sql(text, where, body)

    def update(self, table: str, change: Change, counted: str = "", **where: Any) -> Request:
        value = f'(SELECT COUNT(*) FROM "{counted}")' if counted else "%s"
        text = f'UPDATE "{table}" SET "n" = {value}{_conditions(where)}'
        parameters = where if counted else {"value": 0, **where}
        return self._sql(text, parameters, partial(self.host.update, self.session, table, where, change, counted))

    def update_first(self, table: str, change: Change, **where: Any) -> Request:
        """Change the first row that a subquery finds."""
        text = f'UPDATE "{table}" SET "n" = %s WHERE "id" = (SELECT MIN("id") FROM "{table}"{_conditions(where)})'
        parameters = {"value": 0, **where}
        return self._sql(text, parameters, partial(self.host.update_first, self.session, table, where, change))

    def insert_missing(self, table: str, **values: Any) -> Request:
        """Insert a row unless there is one like it."""
        names, marks = ", ".join(f'"{name}"' for name in values), ", ".join(["%s"] * len(values))
        others = f'SELECT 1 FROM "{table}"{_conditions(values)}'
        text = f'INSERT INTO "{table}" ({names}) SELECT {marks} WHERE NOT EXISTS ({others})'
        body = partial(self.host.insert, self.session, table, values, ignore=False, missing=True)
        return self._sql(text, {**values, **{f"{name} again": value for name, value in values.items()}}, body)

    def insert(self, table: str, *, ignore: bool = False, **values: Any) -> Request:
        names, marks = ", ".join(f'"{name}"' for name in values), ", ".join(["%s"] * len(values))
        text = f'INSERT INTO "{table}" ({names}) VALUES ({marks})'
        if not ignore and "id" not in values and self.engine.vendor != "sqlite":
            text += ' RETURNING "id"'
        if ignore:
            on_mysql = self.engine.vendor == "mysql"
            text = text.replace("INSERT", "INSERT IGNORE") if on_mysql else f"{text} ON CONFLICT DO NOTHING"
        return self._sql(text, values, partial(self.host.insert, self.session, table, values, ignore=ignore))

    def delete(self, table: str, **where: Any) -> Request:
        text = f'DELETE FROM "{table}"{_conditions(where)}'
        return self._sql(text, where, partial(self.host.delete, self.session, table, where))

    def advisory(self, number: int, *, unlock: bool = False) -> Request:
        text = f"SELECT pg_advisory_{'unlock' if unlock else 'lock'}(%s)"
        body = partial(self.host.advisory, self.session, number, unlock=unlock)
        return self._sql(text, {"number": number}, body)

    def cache_get(self, key: str) -> Request:
        def body() -> Body:
            yield from ()
            return self.host.cache.get(key)

        return Request(Operation("cache", "get", (key,), database="default cache"), body)

    def cache_set(self, key: str, value: Any) -> Request:
        def body() -> Body:
            self.host.cache[key] = value
            yield from ()

        return Request(Operation("cache", "set", (key,), database="default cache"), body)

    def enqueue(self, number: int, *, again: bool = False) -> Request:
        def body() -> Body:
            self.enqueued[number] = LATER if again else START
            yield from ()

        return Request(Operation("enqueue", f"task {number}"), body)

    def atomic(self, steps: Steps) -> Steps:
        """What django.db.transaction.atomic does around `steps`."""
        if self._open:
            return (yield from self._nested(steps))
        if self.engine.vendor == "sqlite":
            immediate = self.engine.immediate
            text = "BEGIN IMMEDIATE" if immediate else "BEGIN"
            yield self._sql(text, {}, partial(self.host.start, self.session, immediate=immediate))
        else:
            self.host.start(self.session)
        self._open = True
        try:
            result = yield from steps
            yield self._request("commit", "", {}, partial(self.host.commit, self.session))
        except DatabaseError:
            yield self._request("rollback", "", {}, partial(self.host.rollback, self.session))
            raise
        finally:
            self._open = False
        return result

    def _nested(self, steps: Steps) -> Steps:
        self._savepoints += 1
        name = f"s140_x{self._savepoints}"
        yield self._sql(f'SAVEPOINT "{name}"', {}, partial(self.host.savepoint, self.session, name))
        try:
            result = yield from steps
        except DatabaseError:
            yield self._sql(f'ROLLBACK TO SAVEPOINT "{name}"', {}, partial(self.host.rollback_to, self.session, name))
            raise
        yield self._sql(f'RELEASE SAVEPOINT "{name}"', {}, partial(self.host.release, self.session, name))
        return result

    def _sql(self, text: str, parameters: Row, body: Callable[[], Body]) -> Request:
        return self._request("sql", text.replace('"', "`") if self.engine.vendor == "mysql" else text, parameters, body)

    def _request(self, kind: Any, text: str, parameters: Row, body: Callable[[], Body]) -> Request:
        operation = Operation(
            kind,
            text,
            tuple(parameters.values()),
            vendor=self.engine.vendor,
            database="main",
            in_transaction=self._open,
            isolation=self.engine.isolation,
        )
        return Request(operation, body)


def _conditions(where: Row) -> str:
    return " WHERE " + " AND ".join(f'"{column}" = %s' for column in where) if where else ""


@dataclass(eq=False)
class Worker:
    steps: Steps
    client: Client
    begun: bool = False
    request: Request | None = None
    split: tuple[str, Any] | None = None  # what a statement gave whose COMMIT is to come
    end: str = ""


def never_split(operation: Operation) -> Operation:
    return operation


class Simulation:
    """One run of a scenario: the controller of the exploration, in miniature.

    Args:
        split: Says which statements in autocommit are given a transaction, whose COMMIT is a step.
    """

    def __init__(self, scenario: Scenario, engine: Engine, run: int = 0, split: Splitting = never_split) -> None:
        self._split = split
        self._host: Any = engine.host(scenario.schema, len(scenario.programs), run)
        clients = [Client(self._host, session, engine) for session in self._host.sessions]
        programs = zip(scenario.programs, clients, strict=True)
        self._workers = [Worker(program(client), client) for program, client in programs]
        self._tasks = scenario.tasks
        self._failed: set[int] = set()
        self._overtook: frozenset[int] = frozenset()
        self._results: dict[int, StatementResult] = {}

    def decision(self) -> Decision:
        ready, blocked = {}, set()
        for number, worker in enumerate(self._workers):
            if worker.client.session.waiting:
                blocked.add(number)
            elif not worker.begun:
                asked = [each.client.enqueued[number] for each in self._workers if number in each.client.enqueued]
                if asked or number not in self._tasks:
                    ready[number] = asked[0] if asked else START
            elif worker.request:
                ready[number] = worker.request.operation
        return Decision(ready, frozenset(blocked), frozenset(self._failed), self._overtook, self._results)

    def step(self, number: int) -> None:
        """Let one call go, until all stand still."""
        worker, self._failed, self._results = self._workers[number], set(), {}
        if not worker.begun:
            worker.begun = True
            self._advance(number, "value", None)
            return
        request = worker.request
        assert request is not None
        waiting = [(session, session.waiting.key) for session in self._host.queue if session.waiting]
        self._woken: list[Session] = []
        self._settle(self._host.begin(self._host.sessions[number], request.body()))
        while not (decision := self.decision()).ready and decision.blocked:
            self._settle(self._host.give_up())
        self._overtook = frozenset(
            session.number
            for index, (session, key) in enumerate(waiting)
            for earlier in (before for before, wanted in waiting[:index] if wanted == key)
            if session in self._woken and earlier not in self._woken[: self._woken.index(session)]
            if not isinstance(self._host, File)  # whose waiters try again, and have no order
        )

    def end(self) -> Outcome:
        """What the run came to: the rows, and of each call what it saw and how it ended."""
        tables = tuple((table, str(rows)) for table, rows in self._host.contents().items())
        tables += (("cache", str(sorted(self._host.cache.items()))),)
        if isinstance(self._host, File):
            self._host.close()
        return tables + tuple((str(worker.client.log), worker.end) for worker in self._workers)

    def _asked(self, worker: Worker, request: Request) -> Request:
        """What a program asks for, as it is stepped."""
        operation, session = self._split(request.operation), worker.client.session

        def in_transaction() -> Body:
            self._host.start(session)
            try:
                return (yield from request.body())
            except DatabaseError:
                yield from self._host.rollback(session)
                raise

        return Request(operation, in_transaction) if operation.split else request

    def _commit(self, worker: Worker) -> Request:
        assert worker.request is not None
        operation = replace(worker.request.operation, kind="commit", text="", parameters=None)
        return Request(operation, partial(self._host.commit, worker.client.session))

    def _result(self, session: Session) -> StatementResult:
        """What a statement came to, as a driver tells."""
        assert session.result is not None
        kind, value = session.result
        request = self._workers[session.number].request
        if kind == "value" and request and "RETURNING" in request.operation.text:
            return StatementResult(1, request.operation, ("id",), ((value,),))
        return StatementResult(len(value) if isinstance(value, list) else value)

    def _settle(self, ended: list[Session]) -> None:
        """Let the calls whose statement ended go on one by one: the one that was let go first, then by number."""
        left = list(ended)
        self._woken += ended
        while left:
            session = left.pop(0)
            left.sort(key=lambda session: session.number)
            assert session.result is not None
            self._results[session.number] = self._result(session)
            if session.result[0] == "error":
                self._failed.add(session.number)
            freed = self._advance(session.number, *session.result)
            self._woken += freed
            left += freed

    def _advance(self, number: int, how: str, what: Any) -> list[Session]:
        worker = self._workers[number]
        if how == "value" and worker.request and worker.request.operation.split and not worker.split:
            worker.split, worker.request = (how, what), self._commit(worker)
            return []
        if how == "value" and worker.split:
            how, what = worker.split
        worker.split = None
        try:
            worker.request = self._asked(
                worker, worker.steps.send(what) if how == "value" else worker.steps.throw(what)
            )
            return []
        except StopIteration as stop:
            worker.end = repr(stop.value)
        except DatabaseError as error:
            worker.end = type(error).__name__
        worker.request = None
        woken: list[Session] = self._host.disconnect(worker.client.session)
        return woken


def split_all(scenario: Scenario) -> Splitting:
    """See the start and the end of every statement that changes or locks anything."""

    def split(operation: Operation) -> Operation:
        if operation.kind != "sql" or operation.in_transaction or operation.vendor not in ("postgresql", "mysql"):
            return operation
        touched = footprint(operation, scenario.catalogue)
        changes = touched.locks or (touched.everything and not touched.moment)
        return replace(operation, in_transaction=True, split=True) if changes else operation

    return split


def every_outcome(
    scenario: Scenario, engine: Engine, limit: int = 10**9, split: Splitting = never_split
) -> tuple[dict[Outcome, int], int]:
    """Run every order there is, or so many.

    Returns:
        The outcomes, each with the fewest preemptions that it takes, and the number of runs.
    """
    outcomes: dict[Outcome, int] = {}
    left: list[list[int]] = [[]]
    runs = 0
    while left and runs < limit:
        simulation, steps, plan = Simulation(scenario, engine, runs, split), list[Step](), left.pop()
        while ready := simulation.decision().ready:
            if starting := [
                call for call, operation in ready.items() if operation.kind == "start"
            ]:  # which touches nothing
                for call in starting:  # which touches nothing
                    simulation.step(call)
                continue
            first, *others = sorted(ready)
            if len(steps) >= len(plan):
                left += [[*(step.call for step in steps), other] for other in others]
            worker = plan[len(steps)] if len(steps) < len(plan) else first
            steps.append(Step(worker, ready[worker], enabled=frozenset(ready)))
            simulation.step(worker)
        outcome = simulation.end()
        outcomes[outcome] = min(preemptions(steps), outcomes.get(outcome, len(steps)))
        runs += 1
    return outcomes, runs


@dataclass
class Found:
    """What a search came to."""

    search: Search
    log: list[Walk]
    outcomes: list[Outcome]  # one a run
    split: Splitting = never_split

    @property
    def runs(self) -> int:
        return self.search.runs

    @property
    def fewest(self) -> dict[Outcome, int]:
        """The outcomes, each with the fewest preemptions that it was found with."""
        fewest: dict[Outcome, int] = {}
        for run, outcome in zip(self.log, self.outcomes, strict=True):
            fewest[outcome] = min(run.preemptions, fewest.get(outcome, run.preemptions))
        return fewest

    def first(self, failing: Callable[[Outcome], bool]) -> int | None:
        """The number of the first run that fails, counted from 1."""
        return next((number for number, outcome in enumerate(self.outcomes, 1) if failing(outcome)), None)


@dataclass
class Crowd:
    """So many workers that make runs of a search, and bring them in any order."""

    workers: int = 1
    arrival: Random = field(default_factory=Random)
    _under_way: list[Walk] = field(default_factory=list)
    _brought: dict[Walk, Outcome] = field(default_factory=dict)

    def outcome(self, run: Walk, search: Search, perform: Callable[[Walk], Outcome]) -> Outcome:
        """Have this run made, and others before or after it."""
        if run not in self._brought and run not in self._under_way:
            self._under_way.append(run)
        while run not in self._brought:
            self._under_way += search.ahead(self.workers - len(self._under_way))
            arrived = self._under_way.pop(self.arrival.randrange(len(self._under_way)))
            self._brought[arrived] = perform(arrived)
            if arrived is not run:
                search.foresee(arrived)
        return self._brought.pop(run)


def explore(
    scenario: Scenario,
    engine: Engine,
    limit: int = 10**9,
    longest: int = 10**9,
    classes: Sequence[int] | None = None,
    crowd: Crowd | None = None,
    drawing_from: int | None = None,
    **options: Any,
) -> Found:
    """Run a search to its end, or so many runs of it; a run of more than the longest is cut.

    After so many runs, as soon as one had a preemption, orders are drawn at random.

    It begins anew where it turns out that statements have to be stepped otherwise.
    """
    crowd = crowd or Crowd()
    moments = Moments()
    catalogue = scenario.catalogue

    def split(operation: Operation) -> Operation:
        return moments.split(operation, scenario.catalogue)

    while True:
        search = Search(classes or range(len(scenario.programs)), catalogue, **options)
        found = Found(search, [], [], split)
        learnt, has_drawn = False, drawing_from is None

        def next_run(search: Search = search) -> Walk | None:
            nonlocal has_drawn
            search.take_in()
            if not has_drawn and search.preemptions and search.runs >= (drawing_from or 0):
                has_drawn = True
                search.begin_drawing()
            return search.next_run()

        def perform(run: Walk, search: Search = search) -> Outcome:
            simulation = Simulation(scenario, engine, search.runs, split)
            while (worker := run.choose(simulation.decision())) is not None and len(run.steps) <= longest:
                simulation.step(worker)
            return simulation.end()

        while not learnt and len(found.outcomes) < limit and (run := next_run()) is not None:
            found.log.append(run)
            found.outcomes.append(crowd.outcome(run, search, perform))
            learnt = moments.learn((step.operation for step in run.steps), scenario.catalogue)
            search.take_in()
            if search.mixes_numbers:
                learnt, catalogue = True, replace(catalogue, keys={})
        if not learnt:
            return found
