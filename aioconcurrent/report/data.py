"""A run as data for other programs, in types that JSON has, and a race as GitHub's note at a line of code.

A value without such a type becomes a string: decimals and times as they are usually
written, anything else as its `repr`.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from .._text import shown, text_of
from ..base.sources import lines_of
from ..base.trace import Endless, Run, call_name
from ..exceptions import error_of
from .excerpt import excerpt

if TYPE_CHECKING:
    from collections.abc import Iterable


def as_json(data: Mapping[str, Any]) -> str:
    """Write data that this module has made."""
    return json.dumps(data, indent=2, allow_nan=False)


def run_data(run: Run, calls: Sequence[str], marked: Collection[int] = ()) -> dict[str, Any]:
    """Tell a run.

    Args:
        run: What the calls did, without secrets.
        calls: The text of each call, as "withdraw(account_id=1, amount=80)".
        marked: The indexes of the steps that explain the race.
    """
    ending = ending_data(run, calls)
    steps = [_step(run, index, is_marked=index in marked) for index in range(len(run.steps))]
    return {"calls": ending["calls"], "steps": steps, "tables": ending["tables"]}


def ending_data(run: Run, calls: Sequence[str]) -> dict[str, Any]:
    """Tell how a run ended."""
    return {
        "calls": [
            {"call": call_name(call), "text": text, **_outcome(run.outcomes[call])} for call, text in enumerate(calls)
        ],
        "tables": {name: [value(row) for row in rows] for name, rows in sorted(run.tables.items())},
    }


def value(given: object) -> Any:
    """A value as JSON can have it."""
    match given:
        case None | bool() | str():
            return given
        case int():
            return int(given)
        case float() if math.isfinite(given):
            return float(given)
        case datetime() | date() | time():
            return given.isoformat()
        case Decimal() | UUID():
            return str(given)
        case Mapping():
            return {key if isinstance(key, str) else shown(key): value(inner) for key, inner in given.items()}
        case list() | tuple():
            return [value(inner) for inner in given]
    return shown(given)


def _outcome(outcome: Any) -> dict[str, Any]:
    """How a call ended; of what it returned no more than the `repr`, if that is no plain value."""
    if isinstance(outcome, Endless):
        return {"ended": "never"}
    if (error := error_of(outcome)) is not None:
        return {
            "ended": "raised",
            "error": type(error).__name__,
            "message": text_of(error),
            "source": [*lines_of(error)],
        }
    is_plain = outcome is None or isinstance(outcome, str | int | float)
    return {"ended": "returned", "value": value(outcome) if is_plain else shown(outcome)}


def _step(run: Run, index: int, *, is_marked: bool) -> dict[str, Any]:
    step = run.steps[index]
    operation = step.operation
    told = {
        "number": index + 1,
        "call": call_name(step.call),
        "kind": operation.kind,
        "text": operation.text,
        "parameters": None if operation.parameters is None else value(operation.parameters),
        "in_transaction": operation.in_transaction,
        "source": step.source,
        "columns": [*step.columns],
        "rows": value(step.rows),
        "rowcount": step.rowcount,
        "error": step.error,
        "waited_for": [call_name(call) for call in sorted(step.waited_for)],
        "resumed_after": None if step.resumed_after is None else step.resumed_after + 1,
        "marked": is_marked,
        "private": index in run.private,
    }
    if run.is_timed:  # in seconds from the first step on
        ended = None if step.ended is None else step.ended - run.begun
        told |= {"started": step.started - run.begun, "ended": ended, "waited": step.waited}
    return told


# docs.github.com/actions/reference/workflows-and-actions/workflow-commands
_ESCAPES = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_ESCAPES_OF_PROPERTIES = {**_ESCAPES, **str.maketrans({":": "%3A", ",": "%2C"})}


def annotation(title: str, text: str, sources: Iterable[str]) -> str:
    """Return the line.

    Args:
        title: The name of the race.
        text: What happened.
        sources: Lines of the application, as `Step.source` has them; the first that can be found is the place.
    """
    place = next((found for source in sources if (found := excerpt(source)).file), None)
    properties = {"title": title}
    if place is not None:
        top = os.environ.get("GITHUB_WORKSPACE") or os.curdir
        file = Path(os.path.relpath(place.file, top)).as_posix()
        properties = {"file": file, "line": str(place.number), **properties}
    told = ",".join(f"{name}={value.translate(_ESCAPES_OF_PROPERTIES)}" for name, value in properties.items())
    return f"::error {told}::{text.translate(_ESCAPES)}"
