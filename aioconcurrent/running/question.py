"""What is to be explored, checked before any process is started; and mistakes of the test that only its calls show.

Those are raised, because no assertion about outcomes would find them.  A process reports one as soon as it happens
(`Kind.MISTAKE`), whatever the application then does with the error.
"""

from __future__ import annotations

import dis
import linecache
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from ..base import pickling
from ..base.calls import parsed
from ..base.own_clock import sleep
from ..exceptions import (
    NoConnectionLeftError,
    NotATestDatabaseError,
    NoTerminalError,
    TokenError,
    UncommittedDataError,
    WrappedError,
    chain_of,
)
from ..results.replaying import orders_of_test
from .options import current_options, options

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from django.db.models import Model

    from ..base.calls import Call
    from ..exploring.orders.schedule import Schedule
    from ..results.outcomes import Outcomes
    from .options import Options

    Refusals: TypeAlias = type[BaseException] | Iterable[type[BaseException]]
    Ignored: TypeAlias = Iterable[type[Model] | str]


# For whoever passes the arguments of a function to `explore`.
ADVICE = 'An argument of a function stands beside it, as in (function, {"argument": 1}).'

_SECOND = 1_000_000_000  # nanoseconds
SPACING = _SECOND // 100  # between the clocks of two calls, so that a time tells whose it is


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be found out about some calls.

    Attributes:
        check: The caller's rule, if there is one.
        refusals: Exceptions that are correct refusals.
        preemptions: Orders with more are left out; None for no limit.
        schedule: The one order to run; None for all.
        number: Of the exploration in its test, counted from 0; None where nobody counts.
        likely: The order that went wrong when the test ran last.
        moment: Where the clock of the first call stands, as `time.time_ns` has it; None where clocks run.
        ignored: Tables, and columns of tables, that are left out of the comparison.
        remedies: Whether it is measured what would prevent a race.
    """

    calls: Sequence[Call]
    options: Options
    check: Callable[[Outcomes], Any] | None = None
    refusals: tuple[type[BaseException], ...] = ()
    preemptions: int | None = None
    schedule: Schedule | None = None
    number: int | None = None
    likely: Schedule | None = None
    moment: int | None = None
    ignored: frozenset[tuple[str, str | None]] = frozenset()
    remedies: bool = False


def question(
    calls: Sequence[object],
    *,
    check: Callable[[Outcomes], Any] | None,
    refusals: Refusals,
    ignore: Ignored = (),
    max_schedules: int | None = None,
    max_seconds: float | None = None,
    preemptions: int | None = None,
    strategy: str | None = None,
    remedies: bool = False,
    token: str | None = None,
) -> Question:
    """Return what the arguments of `explore` or `replay` ask.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: One is out of range, there are no calls, the start method is "inline", or
            `ignore` names no model or field.
        TokenError: `token` is none.
    """
    given = {"max_schedules": max_schedules, "max_seconds": max_seconds, "strategy": strategy}
    with options(**{name: value for name, value in given.items() if value is not None}):  # type: ignore[arg-type]
        chosen = current_options()
    if chosen.start_method == "inline":
        raise ValueError('Calls of the start method "inline" cannot be stepped; use "fork" or "spawn" to explore.')
    if token is not None and not isinstance(token, str):
        raise TypeError(
            f"The first argument is the token of a counterexample, a string, not {token!r}. Write "
            'replay("aioc1:...", *calls), with the calls with which it was found.'
        )
    _check_rule(check)
    _check_preemptions(preemptions)
    found = parsed(calls)
    moment = None if chosen.real_time else _moment(len(found))
    asked = Question(
        found,
        chosen,
        check,
        _checked(refusals),
        preemptions,
        moment=moment,
        ignored=_ignored(ignore),
        remedies=remedies,
    )
    token = chosen.replay if token is None else token
    return _remembering(asked) if token is None else replace(asked, schedule=_read(token, len(found)))


def _remembering(asked: Question) -> Question:
    """Let a question know what went wrong when it was asked in the last run of the test."""
    orders = orders_of_test()
    if orders is None:
        return asked
    number, likely = orders.number(), None
    with suppress(ValueError):  # it is of another version, or of more calls
        likely = _read(orders.wrong[number], len(asked.calls)) if number in orders.wrong else None
    if likely is not None and likely.enqueuers:  # its tasks are known when they have been enqueued
        likely = None
    return replace(asked, number=number, likely=likely)


def _ignored(named: Any) -> frozenset[tuple[str, str | None]]:
    """The tables and columns of models, "app.Model" and "app.Model.field"."""
    if isinstance(named, str | type):
        named = (named,)
    return frozenset(column for each in named for column in _columns_of(each))


def _columns_of(named: Any) -> Iterator[tuple[str, str | None]]:
    from django.apps import apps
    from django.core.exceptions import FieldDoesNotExist
    from django.db.models import Field, ManyToManyField, Model

    if isinstance(named, type) and issubclass(named, Model):
        yield named._meta.db_table.lower(), None
        return
    if not isinstance(named, str):
        raise TypeError(f"ignore takes models, 'app.Model' and 'app.Model.field', not {named!r}.")
    label, model_name, *field = named.split(".") if named.count(".") in (1, 2) else ("", "")
    try:
        model = apps.get_model(label, model_name)
        of = model._meta.get_field(field[0]) if field else None
    except (LookupError, FieldDoesNotExist, ValueError) as error:
        raise ValueError(f"ignore: {named!r} is neither a model nor a field of one: {error}") from None
    table = model._meta.db_table.lower()
    if of is None:
        yield table, None
    elif isinstance(of, ManyToManyField):
        yield cast("Any", of).remote_field.through._meta.db_table.lower(), None
    elif isinstance(of, Field) and of.concrete:
        yield table, of.column
    else:
        raise ValueError(f"ignore: {named!r} has no column of its own.")


def names_of(ignored: Iterable[tuple[str, str | None]]) -> list[str]:
    """Return "app.Model" and "app.Model.field" for tables and columns."""
    from django.apps import apps

    models = {model._meta.db_table.lower(): model._meta for model in apps.get_models(include_auto_created=True)}
    named = []
    for table, column in ignored:
        meta = models[table]
        fields = [each.name for each in meta.concrete_fields if each.column == column]
        named.append(".".join([meta.label, *fields]))
    return sorted(named)


def _moment(calls: int) -> int:
    """The time as the caller has it, in a second that is not over before the clock of the last call."""
    now = time.time_ns()
    if now % _SECOND + calls * SPACING > _SECOND:
        sleep(1 - now % _SECOND / _SECOND)  # a clock that stands already is where it was afterwards
        now = time.time_ns()
    return now


def _read(token: str, calls: int) -> Schedule:
    from ..exploring.orders.schedule import Schedule

    schedule = Schedule.from_token(token)
    needed = max((*schedule.choices, *schedule.calls), default=0) + 1 - len(schedule.enqueuers)
    if needed > calls:
        raise TokenError(
            token,
            f"it is an order of at least {needed} calls, and {calls} were passed. Pass the calls with which it was "
            "found, in the same order",
        )
    return schedule


def _check_rule(check: Any) -> None:
    if check is not None and not callable(check):
        raise TypeError(f"check must be a function that takes the outcomes, not {check!r}.")
    code = getattr(check, "__code__", None)
    if code is None:
        return
    pairs = pairwise(each for each in dis.get_instructions(code) if each.opname != "CACHE")
    for compared, then in pairs:  # "outcomes.count(True) == 1" alone in a line says nothing
        if compared.opname in ("COMPARE_OP", "CONTAINS_OP", "IS_OP") and then.opname == "POP_TOP":
            line = linecache.getline(code.co_filename, _line_of(compared)).strip()
            raise TypeError(
                f"check compares two values and drops the result. Write `return {line}`, or `assert {line}`."
            )


def _line_of(instruction: dis.Instruction) -> int:
    return (instruction.positions.lineno if instruction.positions else None) or 0


def _check_preemptions(preemptions: int | None) -> None:
    if preemptions is None:
        return
    if type(preemptions) is not int:
        raise TypeError(f"preemptions must be a whole number or None, not {preemptions!r}.")
    if preemptions < 0:
        raise ValueError(f"preemptions must be at least 0, not {preemptions!r}.")


def _checked(refusals: Any) -> tuple[type[BaseException], ...]:
    kinds = tuple(refusals) if isinstance(refusals, Iterable) and not isinstance(refusals, str) else (refusals,)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise TypeError(
                f"refusals must be exception classes, not {kind!r}: write refusals=(IntegrityError,), with the class "
                "itself."
            )
    return kinds


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
