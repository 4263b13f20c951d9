"""What may come of a call, by its fault."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import DatabaseError, InterfaceError, connections

from aioconcurrent import ProcessDiedError, TerminatedProcessError, UnpicklableError, WrappedError
from aioconcurrent.exceptions import RemoteError
from tests.soak.calls import SIGNALS

if TYPE_CHECKING:
    from aioconcurrent import Outcomes
    from tests.soak.plan import Fault, Plan

_DATABASE = (DatabaseError, InterfaceError)
# Who closes the descriptors of an SQLite file gives up its locks in the middle of what it writes, and others come upon
# that: section 2.2 of sqlite.org/howtocorrupt.html.
_UNLOCKED = "disk I/O error"


def sign_of(plan: Plan, index: int) -> str:
    """What a call returns that nothing happens to."""
    return f"race {plan.number}, call {index}"


def judge(plan: Plan, outcomes: Outcomes) -> list[str]:
    """What is wrong with these outcomes, a sentence each."""
    found = []
    for index, (fault, outcome) in enumerate(zip(plan.faults, outcomes, strict=True)):
        if not (_fits(plan, index, fault, outcome) or _fits_what_is_around(plan, outcome)):
            found.append(f"call {index} with {fault}: {outcome!r}")
    return found


def _fits(plan: Plan, index: int, fault: Fault, outcome: object) -> bool:
    if not isinstance(outcome, WrappedError):
        return fault.kind in ("none", "flood") and outcome == sign_of(plan, index)
    error = outcome.error
    match fault.kind:
        case "kill":
            return isinstance(error, ProcessDiedError) and SIGNALS[fault.detail % len(SIGNALS)].name in str(error)
        case "exit":
            return isinstance(error, ProcessDiedError) and f"exited with status {fault.detail} " in str(error)
        case "close":
            return isinstance(error, ProcessDiedError)
        case "stop":
            return isinstance(error, TerminatedProcessError)
        case "error":
            return isinstance(error, ValueError) and error.args == (sign_of(plan, index),)
        case "unpicklable":
            return isinstance(error, UnpicklableError | RemoteError)
        case "termination":
            return isinstance(error, _DATABASE)
    return False


def _fits_what_is_around(plan: Plan, outcome: object) -> bool:
    if not isinstance(outcome, WrappedError):
        return False
    if plan.around == "template killed":
        return isinstance(outcome.error, ProcessDiedError)
    if any(fault.kind == "close" for fault in plan.faults) and _UNLOCKED in str(outcome.error):
        return connections[plan.database].vendor == "sqlite"
    return plan.around == "sessions ended" and isinstance(outcome.error, _DATABASE)
