"""A catalogue of races and of their safe twins, as simulated programs."""

from __future__ import annotations

from collections.abc import Callable

from .host import IntegrityError, Row, Schema
from .workload import Client, Program, Scenario, Steps


def counters(**more: list[Row]) -> Schema:
    return Schema({"counter": [{"id": 1, "n": 0}, {"id": 2, "n": 0}], "log": [], **more})


def twice(program: Program, schema: Schema | None = None, calls: int = 2) -> Scenario:
    return Scenario(schema or counters(), (program,) * calls)


def plus(amount: int) -> Callable[[Row], Row]:
    return lambda row: {"n": row["n"] + amount}


def put(value: int) -> Callable[[Row], Row]:
    return lambda row: {"n": value}


def lost_update(c: Client) -> Steps:
    rows = yield c.select("counter", id=1)
    yield c.update("counter", put(rows[0]["n"] + 1), id=1)


def lost_update_in_atomic(c: Client) -> Steps:
    yield from c.atomic(lost_update(c))


def enqueues(task: int, *more: int, seldom: bool = False, again: bool = False) -> Program:
    """Change a row, and enqueue tasks before that is committed: always, or only if nobody else has changed it."""

    def steps(c: Client) -> Steps:
        rows = yield c.select("counter", id=1)
        yield c.update("counter", put(rows[0]["n"] + 1), id=1)
        if not (seldom and rows[0]["n"]):
            for each in (task, *more):
                yield c.enqueue(each, again=again)

    return lambda c: c.atomic(steps(c))


def looks(c: Client) -> Steps:
    rows = yield c.select("counter", id=1)
    c.log.append(rows[0]["n"])
    yield c.insert("log", n=rows[0]["n"])


def enqueues_again(task: int) -> Program:
    """A task that enqueues another one when it has looked."""

    def steps(c: Client) -> Steps:
        yield from looks(c)
        yield c.enqueue(task)

    return steps


def locked_update(c: Client) -> Steps:
    def steps() -> Steps:
        rows = yield c.lock("counter", id=1)
        yield c.update("counter", put(rows[0]["n"] + 1), id=1)

    yield from c.atomic(steps())


def f_update(c: Client) -> Steps:
    yield c.update("counter", plus(1), id=1)


def get_or_create(c: Client) -> Steps:
    rows = yield c.select("slot", name="x")
    if rows:
        return rows[0]["id"]

    def create() -> Steps:
        return (yield c.insert("slot", name="x"))

    try:
        return (yield from c.atomic(create()))
    except IntegrityError:
        rows = yield c.select("slot", name="x")
        return rows[0]["id"]


def check_then_insert(c: Client) -> Steps:
    if not (yield c.select("slot", name="x")):
        yield c.insert("slot", name="x")


def write_skew(c: Client) -> Steps:
    def steps() -> Steps:
        on_call = yield c.select("doctor", n=1)
        if len(on_call) >= 3:
            yield c.update("doctor", put(0), id=c.index + 1)

    yield from c.atomic(steps())


def opposite_order(c: Client) -> Steps:
    def steps() -> Steps:
        for pk in (1, 2) if c.index == 0 else (2, 1):
            yield c.update("counter", plus(1), id=pk)

    yield from c.atomic(steps())


def lost_update_with_log(c: Client) -> Steps:
    yield c.insert("log", n=c.index)
    yield from lost_update(c)
    yield c.insert("log", n=10 + c.index)


def disjoint(c: Client) -> Steps:
    table = ("slot", "log")[c.index]
    yield c.select(table)
    yield c.insert(table, name="q")
    yield c.select(table)


def far_apart(change: Callable[[Client], Steps]) -> Program:
    """One call does eight unrelated queries before the window, the other after it."""

    def program(c: Client) -> Steps:
        for number in range(8 * c.index):
            yield c.select("doctor", id=number)
        yield from change(c)
        for number in range(8 * (1 - c.index)):
            yield c.select("doctor", id=number)

    return program


def torn(c: Client) -> Steps:
    """Needs two preemptions of the same call."""
    if c.index == 0:
        yield c.update("counter", put(1), id=1)
        yield c.update("counter", put(1), id=2)
        return "ok"
    seen = []
    for pk in (1, 1, 2):
        rows = yield c.select("counter", id=pk)
        seen.append(rows[0]["n"])
    return "torn" if seen == [0, 1, 0] else "ok"


def waits_with_an_old_snapshot(c: Client) -> Steps:
    """Goes wrong only if the second call's UPDATE has to wait (EvalPlanQual)."""
    if c.index:
        yield c.update("counter", lambda row: {"n": row["count"]}, counted="slot", id=1)
        return

    def steps() -> Steps:
        yield c.update("counter", plus(1), id=1)
        yield c.insert("slot", name="n")

    yield from c.atomic(steps())


def pairs(c: Client) -> Steps:
    """Calls 0 and 1 race for numbers in one table, calls 2 and 3 in another."""
    return (yield c.insert("slot" if c.index < 2 else "log", n=c.index))


def looks_late(c: Client) -> Steps:
    """Reads a table that nobody writes, as long as `allows` comes after `writes_seldom`."""
    yield c.update("counter", put(1), id=1)
    return (yield c.select("log"))


def writes_seldom(c: Client) -> Steps:
    allowed = yield c.select("counter", id=2)
    if allowed[0]["n"]:
        rows = yield c.select("counter", id=1)
        yield c.insert("log", n=rows[0]["n"])


def allows(c: Client) -> Steps:
    yield c.update("counter", put(1), id=2)


PARENTS = Schema(
    {"parent": [{"id": 1, "n": 0}], "child": [], "counter": [{"id": 1, "n": 0}, {"id": 2, "n": 0}], "slot": []},
    unique={"slot": "name"},
    foreign={"child": "parent"},
)
SLOTS = counters(slot=[])
UNIQUE_SLOTS = Schema({"slot": []}, unique={"slot": "name"})
DOCTORS = counters(doctor=[{"id": pk, "n": 1} for pk in (1, 2, 3)], slot=[{"id": 1, "n": 0}])


def stale_cache(c: Client) -> Steps:
    """Reads, changes and writes a number that lives in the cache."""
    seen = yield c.cache_get("hits")
    yield c.cache_set("hits", (seen or 0) + 1)


def three_needed(c: Client) -> Steps:
    """Two writers leave a gap that only a third call can see."""
    if c.index < 2:
        yield c.update("counter", put(1), id=c.index + 1)
        return
    rows = yield c.select("counter")
    return [row["n"] for row in rows]


def signals(c: Client) -> Steps:
    """Reads and writes a row, and then makes another if there is none: only the first call shows all of it."""
    yield from lost_update(c)
    if not (yield c.select("slot")):
        yield c.insert("slot", name="x")


def copies_the_next(c: Client) -> Steps:
    """Each of three calls reads what the next one writes."""
    rows = yield c.select("doctor", id=(c.index + 1) % 3 + 1)
    yield c.update("doctor", put(rows[0]["n"] + 1), id=c.index + 1)


def orders(lines: int) -> Program:
    """Makes a row with rows that point at it, changes it, and reads it: what two customers do at once."""

    def steps(c: Client) -> Steps:
        own = yield c.insert("parent", n=c.index)
        for number in range(lines):
            yield c.insert("child", n=number, parent=own)
        yield c.update("parent", plus(100), id=own)
        c.log.append((yield c.select("parent", id=own)))

    return lambda c: c.atomic(steps(c))


def makes(*more: str) -> Program:
    """Makes rows, and then looks at what others may have made, or at what its own numbers are."""

    def steps(c: Client) -> Steps:
        own = yield c.insert("parent", n=c.index)
        for each in more:
            match each:
                case "another":
                    own = yield c.insert("parent", n=c.index)
                case "newest" | "the newest":
                    rows = yield c.select("parent")
                    own = max(row["id"] for row in rows)
                    c.log.append(own)
                case "count":
                    c.log.append(len((yield c.select("parent"))))
                case "change it":
                    yield c.update("parent", plus(10 + c.index), id=own)
                case "change the next":
                    c.log.append((yield c.update("parent", plus(10 + c.index), id=own + 1)))
                case "change one by number":
                    yield c.update("parent", plus(10 + c.index), id=2)
                case "half of it":
                    rows = yield c.select("counter", id=own // 2)
                    yield c.update("counter", put(rows[0]["n"] + 1 if rows else 0), id=own // 2)
                case "take a name":
                    c.log.append((yield c.insert("slot", name="x")))

    return steps


def guesses(c: Client) -> Steps:
    """Changes the row that will have the next number."""
    c.log.append((yield c.update("parent", plus(10 + c.index), id=2)))


def polls(c: Client) -> Steps:
    """The first call waits, by asking again and again, for what the second writes."""
    if c.index:
        yield c.select("log")
        yield c.update("counter", put(1), id=1)
        return "written"
    while True:
        rows = yield c.select("counter", id=1)
        if rows[0]["n"]:
            return "seen"


def opposite_tables(c: Client) -> Steps:
    """Deadlocks without two statements that name the same table."""

    def steps() -> Steps:
        for table in ("counter", "doctor") if c.index == 0 else ("doctor", "counter"):
            yield c.update(table, plus(1), id=1)

    yield from c.atomic(steps())


def circle(c: Client) -> Steps:
    """Three calls, each of which holds what the one before wants."""
    tables = ("counter", "doctor", "slot")

    def steps() -> Steps:
        for table in (tables[c.index], tables[(c.index + 1) % 3]):
            yield c.update(table, plus(1), id=1)

    yield from c.atomic(steps())
