"""Traces written down by hand, for the tests of what is told about them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from aioconcurrent.base.trace import Operation, Step

READ = 'SELECT "account"."id", "account"."owner", "account"."balance" FROM "account" WHERE "account"."id" = %s LIMIT 21'
SAVE = 'UPDATE "account" SET "owner" = %s, "balance" = %s WHERE "account"."id" = %s'


class Tracer:
    """Writes steps of one engine and isolation level, all in transactions or none."""

    def __init__(self, vendor: str = "postgresql", *, atomic: bool = False, isolation: str = "read committed") -> None:
        self.vendor, self.atomic, self.isolation = vendor, atomic, isolation

    def sql(self, call: int, text: str, parameters: Iterable[Any] = (), **seen: Any) -> Step:
        text = text.replace('"', "`") if self.vendor == "mysql" else text
        operation = Operation(
            "sql", text, tuple(parameters), self.vendor, "default", 0, self.atomic, self.isolation
        )  # fmt: skip
        rows = seen.pop("rows", ())
        if rows:
            seen |= {"columns": tuple(rows[0]), "rows": tuple(tuple(row.values()) for row in rows)}
        return Step(call, operation, **seen)

    def read(self, call: int, balance: int, pk: int = 1) -> Step:
        rows = [{"id": pk, "owner": "ann", "balance": balance}]
        return self.sql(call, READ, (pk,), rows=rows, source="shop/bank.py:41 in withdraw: account = get(pk)")

    def save(self, call: int, balance: int, pk: int = 1, **seen: Any) -> Step:
        source = "shop/bank.py:44 in withdraw: account.save()"
        return self.sql(call, SAVE, ("ann", balance, pk), rowcount=1, source=source, **seen)

    def end(self, call: int, kind: Any = "commit") -> Step:
        return Step(call, Operation(kind, "", None, self.vendor, "default", 0, self.atomic))


def cached(call: int, method: str, key: str, *values: object, count: int | None = None) -> Step:
    operation = Operation("cache", method, (key,), database="default")
    return Step(call, operation, rowcount=count, columns=(key,), rows=(values,) if values else ())


def timed(step: Step, started: float, ended: float | None) -> Step:
    return replace(step, started=started, ended=ended)


def waited(*calls: int, until: int) -> dict[str, Any]:
    return {"waited_for": frozenset(calls), "resumed_after": until}
