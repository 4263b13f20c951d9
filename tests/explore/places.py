"""Where the catalogue's calls run: databases, with the options that decide about locks and isolation."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import connections

from tests.project.databases import changed_options, on, thorough


@dataclass(frozen=True)
class Place:
    """One database under some of its options."""

    name: str
    alias: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Have connections use the options, those of this process too."""
        if not self.options:
            yield
            return
        try:
            with changed_options(self.alias, **self._resolved()):
                yield
        finally:
            if "init_command" in self.options:
                with connections[self.alias].cursor() as cursor:
                    cursor.execute("PRAGMA journal_mode = DELETE")

    def _resolved(self) -> dict[str, Any]:
        if self.alias != "postgresql":
            return dict(self.options)
        from django.db.backends.postgresql.psycopg_any import IsolationLevel

        return {"isolation_level": IsolationLevel[self.options["isolation_level"].upper().replace(" ", "_")]}


_LEVELS = {"RC": "read committed", "RR": "repeatable read", "SER": "serializable"}
_WAL = "PRAGMA journal_mode = WAL"

PLACES = {
    place.name: place
    for place in (
        Place("memory", "default"),
        Place("file", "file"),
        Place("file-immediate", "file", {"transaction_mode": "IMMEDIATE"}),
        Place("file-wal", "file", {"init_command": _WAL}),
        Place("file-wal-immediate", "file", {"init_command": _WAL, "transaction_mode": "IMMEDIATE"}),
        *(Place(f"postgresql-{short}", "postgresql", {"isolation_level": level}) for short, level in _LEVELS.items()),
        *(Place(f"mysql-{short}", "mysql", {"isolation_level": level}) for short, level in _LEVELS.items()),
        Place("mysql-RU", "mysql", {"isolation_level": "read uncommitted"}),
    )
}


def marks_of(name: str) -> Any:
    """The marks that a test in this place needs."""
    return on(PLACES[name].alias)[0].marks  # type: ignore[attr-defined]  # pytest's ParameterSet is not public


def thorough_but(parameters: Iterable[Any], kept: Callable[[str, Place], bool]) -> list[Any]:
    """Leave all of these (name, place) to `hatch run thorough:test` but those to keep."""
    return [each if kept(*each.values) else thorough([each])[0] for each in parameters]


def in_turn(verdicts: Mapping[str, object], number: int, core: Container[str]) -> set[str]:
    """Of the places in `core` one for each verdict: the turn is the number's."""
    alike: dict[object, list[str]] = {}
    for place, verdict in verdicts.items():
        if place in core:
            alike.setdefault(verdict, []).append(place)
    return {places[number % len(places)] for places in alike.values()}


def at(*names: str) -> list[Any]:
    """Return the values of a `place` parameter."""
    return [pytest.param(PLACES[name], id=name, marks=marks_of(name)) for name in names]
