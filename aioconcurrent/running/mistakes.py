"""Mistakes of the test that show up in its calls: they are raised, because no assertion about outcomes would find them.

A process reports one as soon as it happens (`Kind.MISTAKE`), whatever the application
then does with the error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..base import pickling
from ..exceptions import (
    NoConnectionLeftError,
    NotATestDatabaseError,
    NoTerminalError,
    UncommittedDataError,
    WrappedError,
    chain_of,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ..base.calls import Call

_KINDS = (NoConnectionLeftError, NoTerminalError, NotATestDatabaseError, UncommittedDataError)


def raise_mistakes(
    calls: Sequence[Call],
    outcomes: Sequence[Any],
    told: Sequence[Sequence[bytes]] = (),
    suspects: Collection[BaseException] = (),
) -> None:
    """Raise the first mistake of the test that the calls came upon, if they did.

    Args:
        told: What each of the processes told of, by `dump_error`; nothing if there were none.
        suspects: Errors that are mistakes too where they are among the outcomes.
    """
    found = [
        (call, mistake)
        for call, outcome, news in zip(calls, outcomes, told or [()] * len(calls), strict=True)
        if (mistake := _mistake(outcome, [*map(pickling.load_error, news)], suspects)) is not None
    ]
    for call, mistake in found[:1]:
        others = f", and {len(found) - 1} of the others too" if found[1:] else ""
        mistake.add_note(f"This is a mistake in the test. It was met by {call}{others}.")
        raise mistake


def _mistake(
    outcome: object, told: Sequence[BaseException], suspects: Collection[BaseException]
) -> BaseException | None:
    """Prefer the error that has the call's frames to the one that was told of."""
    for error in chain_of(outcome.error if isinstance(outcome, WrappedError) else None):
        if isinstance(error, _KINDS) or any(_is_same(error, other) for other in (*told, *suspects)):
            return error
    return told[0] if told else None


def _is_same(error: BaseException, other: BaseException) -> bool:
    return type(error) is type(other) and error.args == other.args
