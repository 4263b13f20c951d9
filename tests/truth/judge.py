"""How programs end, in a form that does not depend on luck; exploring's own comparison has no part in it.

Values that a call drew from a clock or by chance are named after the call that drew
them, so that it shows whose survived.  Keys of new rows are named by where they
stand: two endings are the same if some renaming of new rows makes them equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import permutations, product
from typing import Any

from django.core.management.color import no_style
from django.db import connections, transaction
from django.db.models import Model

from tests.project.office.models import Bill, Handle, Job, Post, Reply
from tests.project.office.programs import Journal, Kind

MODELS: tuple[type[Model], ...] = (Post, Reply, Job, Bill, Handle)
_START: Mapping[str, tuple[int, ...]] = {"post": (1, 2), "reply": (1,), "job": (1, 2), "bill": (1,), "handle": ()}
_OTHER: Mapping[type[Model], Mapping[str, Any]] = {Reply: {"post_id": 2}, Bill: {"number": 1}}  # than the default
_GONE = 0  # stands for the keys of all rows that are not there
_NEW = 1000  # and this, and what follows it, for those of new rows

Row = tuple[tuple[str, Any], ...]
Rows = Mapping[str, Sequence[Mapping[str, Any]]]  # by the name of the model
_Ending = tuple[tuple[Any, ...], tuple[tuple[str, tuple[Row, ...]], ...]]  # outcomes and tables
_Names = Mapping["Key", object]


@dataclass(frozen=True)
class Key:
    """The primary key of a row."""

    table: str
    number: int


@dataclass(frozen=True)
class Told:
    """What a call returned or raised, and its journal."""

    outcome: list[object] | BaseException
    journal: Journal


def fill(alias: str) -> None:
    """Put the rows there from which every race begins, and no others."""
    there = rows_of(alias)
    changed = [model for model in MODELS if there[_name(model)] != _start(model)]
    if Post in changed and Reply not in changed:
        changed.insert(1, Reply)  # whose rows go with the posts
    with transaction.atomic(alias):
        for model in reversed(changed):
            model._default_manager.using(alias).all().delete()
        for model in changed:
            model._default_manager.using(alias).bulk_create([model(**row) for row in _start(model)])
        with connections[alias].cursor() as cursor:
            for statement in connections[alias].ops.sequence_reset_sql(no_style(), changed):
                cursor.execute(statement)


def _name(model: type[Model]) -> str:
    return str(model._meta.model_name)


def _start(model: type[Model]) -> list[dict[str, Any]]:
    name = _name(model)
    return [{**_USUAL[name], "id": pk, **_OTHER.get(model, {})} for pk in _START[name]]


_USUAL = {
    _name(model): {field.attname: field.get_default() for field in model._meta.concrete_fields} for model in MODELS
}


def rows_of(alias: str) -> Rows:
    """All rows, as the database has them."""
    return {_name(model): list(model._default_manager.using(alias).order_by("pk").values()) for model in MODELS}


def canonical(told: Sequence[Told], rows: Rows) -> str:
    """Name an ending: the same for all that differ by luck alone."""
    drawn = {
        value: f"<{name} of {call}>" for call, each in enumerate(told) for value, name in each.journal.drawn.items()
    }
    outcomes = tuple(_outcome(each, drawn) for each in told)
    tables = tuple((table, tuple(_row(table, row, drawn) for row in found)) for table, found in rows.items() if found)
    places = {
        Key(table, row["id"]): Key(table, row["id"] if row["id"] in _START[table] else _NEW + place)
        for table, found in rows.items()
        for place, row in enumerate(found)
    }
    return _least_name((_renamed(outcomes, places), _renamed(tables, places)))


def _outcome(told: Told, drawn: Mapping[str, str]) -> object:
    if isinstance(told.outcome, BaseException):
        return type(told.outcome).__name__
    return tuple(_seen(value, kind, drawn) for value, kind in zip(told.outcome, told.journal.kinds, strict=True))


def _seen(value: Any, kind: Kind, drawn: Mapping[str, str]) -> object:
    if kind == "plain":
        return _plain(value, drawn)
    return Key("bill", value) if kind == "key" else ("one above", Key("bill", value - 1))


def _row(table: str, row: Mapping[str, Any], drawn: Mapping[str, str]) -> Row:
    """A row less what is as usual, for the readers of failures."""
    usual = _USUAL[table]
    return tuple(
        (column, _cell(table, column, value, drawn)) for column, value in row.items() if value != usual[column]
    )


def _cell(table: str, column: str, value: Any, drawn: Mapping[str, str]) -> object:
    match table, column, value:
        case _, "id", _:
            return Key(table, value)
        case _, "post_id", _:
            return Key("post", value)
        case _, "before", _:
            return Key("bill", value)
        case _, "after", _:
            return "one above", Key("bill", value - 1)
        case "bill", "code", str() if value.startswith("2024/"):
            return "2024/", "one above", Key("bill", int(value.removeprefix("2024/")) - 1)
    return _plain(value, drawn)


def _plain(value: Any, drawn: Mapping[str, str]) -> object:
    match value:
        case datetime():
            return drawn.get(value.isoformat(), "<time of the database>")
        case str():
            for text in sorted(drawn, key=len, reverse=True):
                value = value.replace(text, drawn[text])
        case dict():
            return tuple((key, _plain(each, drawn)) for key, each in sorted(value.items()))
        case list() | tuple():
            return tuple(_plain(each, drawn) for each in value)
    return value


def _renamed(value: Any, names: _Names) -> Any:
    """Put other names in place of keys, however deep they stand."""
    if isinstance(value, Key):
        return names.get(value, Key(value.table, _GONE))
    return tuple(_renamed(each, names) for each in value) if isinstance(value, tuple) else value


@lru_cache(maxsize=10_000)
def _least_name(ending: _Ending) -> str:
    """The first, as texts are sorted, of all names that come of naming the new rows in some order."""
    outcomes, tables = ending
    return min(
        repr((_renamed(outcomes, names), [(table, sorted(map(repr, _renamed(rows, names)))) for table, rows in tables]))
        for names in _namings(tables)
    )


def _namings(tables: tuple[tuple[str, tuple[Row, ...]], ...]) -> Iterator[_Names]:
    keys = [[dict(row)["id"] for row in rows] for _, rows in tables]
    new = [[key for key in found if key.number >= _NEW] for found in keys]
    old = {key: key.number for found in keys for key in found if key.number < _NEW}
    for orders in product(*(permutations(range(len(found))) for found in new)):
        named = zip(new, orders, strict=True)
        yield old | {key: f"new {place}" for found, order in named for key, place in zip(found, order, strict=True)}
