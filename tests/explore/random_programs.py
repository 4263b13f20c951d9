"""Random small programs, and the property that they are for: pruning loses no outcome.

hatch run fuzz:schedules [SECONDS [FIRST_SEED]]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from .host import DatabaseError, Schema
from .workload import Client, Engine, Program, Scenario, Steps, every_outcome, explore, split_all

ENGINES = (
    Engine("postgresql"),
    Engine("postgresql", "repeatable read"),
    Engine("postgresql", "serializable"),
    Engine("mysql"),
    Engine("mysql", "repeatable read"),
    Engine("sqlite"),
    Engine("sqlite", immediate=True),
    Engine("sqlite", wal=True),
    Engine("sqlite", wal=True, immediate=True),
)
_TOO_MANY_ORDERS = 3000


class RefusedError(DatabaseError):
    """Raised by a program, to have its block rolled back."""


@dataclass(frozen=True)
class Op:
    verb: str
    table: str
    pk: int


@dataclass(frozen=True)
class Block:
    """Operations one by one, or in `atomic`; `caught`: an error ends the block, not the program."""

    atomic: bool
    caught: bool
    parts: tuple[Op | Block, ...] = field(default_factory=tuple)


def schema(random: Random) -> Schema:
    return Schema(
        {
            "counter": [{"id": 1, "n": 0}, {"id": 2, "n": 5}],
            "slot": [{"id": 1, "name": "a"}],
            "parent": [{"id": 1, "n": 0}, {"id": 2, "n": 0}],
            "child": [{"id": 1, "n": 1, "parent": 1}],
            "audited": [{"id": 1, "n": 0}],
            "log": [],
            "item": [{"id": 1, "n": 0, "name": "a"}, {"id": 2, "n": 0, "name": "c"}],
        },
        unique={"slot": "name", "item": "name"} if random.random() < 0.7 else {},
        foreign={"child": "parent"},
        cascading=frozenset({"child"}) if random.random() < 0.5 else frozenset(),
        triggers={"audited": "log"},
    )


_VERBS = (
    *("read", "read all", "add", "put", "put", "lock") * 3,
    *("insert", "insert child", "insert child", "delete parent", "update parent", "read child") * 2,
    *("insert ignore", "delete slot", "read slot", "delete child", "count", "share"),
    *("first", "zeros", "insert missing") * 2,
    *("read item", "touch item", "lock item", "insert item", "insert item", "delete item", "touch child") * 2,
    *("nowait", "skip locked", "audit", "read log", "advisory", "refuse"),
)


def _block(random: Random, length: int, depth: int = 0) -> Block:
    atomic = random.random() < (0.6 if depth == 0 else 1)
    parts: list[Op | Block] = []
    while length > 0:
        if atomic and depth < 2 and length > 1 and random.random() < 0.25:
            inner = _block(random, random.randint(1, length - 1), depth + 1)
            parts.append(inner)
            length -= sum(1 for _ in _operations(inner))
        else:
            parts.append(Op(random.choice(_VERBS), "counter", random.randint(1, 2)))
            length -= 1
    return Block(atomic, random.random() < 0.5, tuple(parts))


def _operations(block: Block) -> Iterator[Op]:
    for part in block.parts:
        if isinstance(part, Op):
            yield part
        else:
            yield from _operations(part)


def program(random: Random, calls: int) -> Program:
    length = random.choice((2, 3, 3)) if calls == 2 else random.choice((1, 2))
    blocks = []
    while length > 0:
        size = random.randint(1, length)
        blocks.append(_block(random, size))
        length -= size

    def run(c: Client) -> Steps:
        for block in blocks:
            yield from _run(c, block)

    return run


def _run(c: Client, block: Block) -> Steps:
    def parts() -> Steps:
        for part in block.parts:
            yield from _run(c, part) if isinstance(part, Block) else _do(c, part)

    try:
        yield from c.atomic(parts()) if block.atomic else parts()
    except DatabaseError as error:
        if not block.caught:
            raise
        c.log.append(type(error).__name__)


def _do(c: Client, op: Op) -> Steps:
    """One operation; what it shows goes to the log, and the last number read is what "put" builds on."""
    seen = c.log[-1] if c.log and isinstance(c.log[-1], int) else 0
    match op.verb:
        case "read":
            rows = yield c.select("counter", id=op.pk)
            c.log.append(rows[0]["n"] if rows else None)
        case "read all" | "read child" | "read slot" | "read log":
            table = op.verb.split()[1]
            rows = yield c.select("counter" if table == "all" else table)
            c.log.append([tuple(row.values()) for row in rows])
        case "add":
            yield c.update("counter", lambda row: {"n": row["n"] * 3 + c.index + 1}, id=op.pk)
        case "put":
            yield c.update("counter", lambda row: {"n": seen * 2 + 10 * (c.index + 1)}, id=op.pk)
        case "count":
            yield c.update("counter", lambda row: {"n": row["count"] * 100}, counted="slot", id=op.pk)
        case "first":
            yield c.update_first("counter", lambda row: {"n": row["n"] + 7 + c.index}, n=0)
        case "zeros":
            yield c.update("counter", lambda row: {"n": row["n"] + 3 + c.index}, n=0)
        case "insert missing":
            c.log.append((yield c.insert_missing("slot", name="ab"[op.pk - 1])))
        case "lock" | "share" | "nowait" | "skip locked":
            busy = op.verb if op.verb in ("nowait", "skip locked") else ""
            rows = yield c.lock("counter", exclusive=op.verb != "share", busy=busy, id=op.pk)
            c.log.append(rows[0]["n"] if rows else None)
        case "insert" | "insert ignore":
            c.log.append((yield c.insert("slot", ignore=op.verb == "insert ignore", name="ab"[op.pk - 1])))
        case "delete slot":
            c.log.append([(yield c.delete("slot", name="a"))])
        case "insert child":
            yield c.insert("child", n=c.index, parent=op.pk)
        case "read item":
            rows = yield c.select("item", id=op.pk + 1)
            c.log.append([tuple(row.values()) for row in rows])
        case "touch item" | "touch child":
            yield c.update(op.verb.split()[1], lambda row: {"n": row["n"] * 3 + c.index + 1}, id=op.pk)
        case "lock item":
            c.log.append(len((yield c.lock("item", id=op.pk + 1))))
        case "insert item":
            yield c.insert("item", id=op.pk + 2, n=c.index, name="abc"[c.index + op.pk - 1 if c.index < 2 else 0])
        case "delete item":
            c.log.append([(yield c.delete("item", id=op.pk + 1))])
        case "delete child":
            c.log.append([(yield c.delete("child", parent=op.pk))])
        case "delete parent":
            c.log.append([(yield c.delete("parent", id=op.pk))])
        case "update parent":
            yield c.update("parent", lambda row: {"n": row["n"] + 1}, id=op.pk)
        case "audit":
            yield c.update("audited", lambda row: {"n": row["n"] + 1}, id=1)
        case "advisory" if c.engine.vendor == "postgresql":
            yield c.advisory(op.pk)
            yield c.update("counter", lambda row: {"n": seen + 7}, id=op.pk)
            yield c.advisory(op.pk, unlock=True)
        case "refuse":
            raise RefusedError


def scenario(seed: int) -> tuple[Scenario, Engine]:
    random = Random(seed)
    calls = random.choice((2, 2, 3))
    engine = random.choice(ENGINES)
    programs = tuple(program(random, calls) for _ in range(calls))
    return Scenario(schema(random), programs), engine


@dataclass
class Tally:
    programs: int = 0
    skipped: int = 0  # too many orders to run them all
    orders: int = 0
    runs: int = 0


def check(seed: int, tally: Tally) -> None:
    """Explore one random program: every outcome, with as few preemptions as it takes, and no run in vain.

    The outcomes are all that there are with the end of every statement apart from its start; the preemptions and
    the runs are counted with those apart that the search had apart.
    """
    tested, engine = scenario(seed)
    expected, orders = every_outcome(tested, engine, _TOO_MANY_ORDERS, split_all(tested))
    if orders >= _TOO_MANY_ORDERS:
        tally.skipped += 1
        return
    found = explore(tested, engine)
    stepped, orders = every_outcome(tested, engine, split=found.split)
    what = f"seed {seed}, {engine}: {found.runs} runs for {orders} orders"
    assert set(found.fewest) == set(expected), what
    assert found.fewest == stepped, what
    assert not found.search.omissions, what
    assert found.search.exhaustive, what
    assert found.runs <= orders, what
    tally.programs += 1
    tally.orders += orders
    tally.runs += found.runs


def fuzz(seconds: float, first_seed: int = 0) -> Tally:
    """Check programs from `first_seed` on until the time is over."""
    tally, end, seed = Tally(), time.monotonic() + seconds, first_seed
    while time.monotonic() < end:
        check(seed, tally)
        seed += 1
    return tally


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seconds", type=float, nargs="?", default=60)
    parser.add_argument("first_seed", type=int, nargs="?", default=0)
    print(fuzz(**vars(parser.parse_args())))
