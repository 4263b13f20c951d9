"""One thing that a call asks to do; the wrappers know it, and nothing else of exploring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["start", "sql", "fetch", "many", "callproc", "commit", "rollback", "close", "step", "cache"]
Primitive = str | bytes | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing a call asks to do, as its gate reports it; equal in two runs if it is the same request."""

    kind: Kind
    text: str = ""  # the SQL, or the name of the procedure, of the cache method or of the step
    parameters: tuple[Primitive, ...] | None = None  # of a cache method: its keys, as the cache stores them
    vendor: str = ""  # Django's: "postgresql", "mysql", "sqlite"; empty for steps and caches
    database: str = ""  # what two aliases of one database have in common; for a cache the same
    connection: int = 0  # which of the call's connections, counted in the order they were opened
    in_transaction: bool = False
    isolation: str | None = None  # "read committed" and so on; None is taken for the strictest
    split: bool = False  # a statement in autocommit that was given a transaction, or the COMMIT of that


START = Operation("start")  # what a call asks for first: to run its Python up to its first operation on shared data
