"""How a test chooses among the project's databases and reaches them from a coroutine."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any, ParamSpec, TypeVar

import anyio.to_thread
import pytest
from django.db import connections

from tests import servers

P = ParamSpec("P")
T = TypeVar("T")

LABELS = {"default": "sqlite-memory", "file": "sqlite-file", "postgresql": "postgresql", "mysql": "mysql"}


def on(*aliases: str) -> list[object]:
    """Return the values of a `database` parameter, each with the marks that its tests need."""
    return [pytest.param(alias, id=LABELS[alias], marks=_mark(alias)) for alias in aliases]


def thorough(parameters: Iterable[Any]) -> list[Any]:
    """Leave these parameters to `hatch run thorough:test`: the same again, elsewhere or more often."""
    return [pytest.param(*each.values, id=each.id, marks=[*each.marks, pytest.mark.thorough]) for each in parameters]


def times(number: int) -> list[Any]:
    """The values of a parameter that only counts: once, and the rest of the times thoroughly."""
    return [pytest.param(0), *thorough(pytest.param(turn) for turn in range(1, number))]


def taking_turns(databases: Iterable[Any], values: Iterable[Any], *, all_thoroughly: bool = False) -> list[Any]:
    """The values of (database, value), where neither asks for the other: each is there, with one of the others.

    Args:
        all_thoroughly: Whether the other pairs are left to `hatch run thorough:test`; else they are not run.
    """
    databases, values = list(databases), list(values)
    turns = [(turn % len(databases), turn % len(values)) for turn in range(max(len(databases), len(values)))]
    others = [pair for pair in product(range(len(databases)), range(len(values))) if pair not in turns]

    def pairs(numbers: Iterable[tuple[int, int]]) -> list[Any]:
        return [_pair(databases[each], values[number]) for each, number in numbers]

    return pairs(turns) + (thorough(pairs(others)) if all_thoroughly else [])


def _pair(database: Any, value: Any) -> Any:
    name = getattr(value, "__name__", value)
    return pytest.param(*database.values, value, id=f"{database.id}-{name}", marks=database.marks)


def _mark(alias: str) -> pytest.MarkDecorator:
    if alias == "mysql" and not servers.find_mysql():
        return pytest.mark.skip(reason=servers.NO_MYSQL)
    return pytest.mark.django_db(transaction=True, databases=[alias])


@contextmanager
def changed_options(alias: str, **options: Any) -> Iterator[None]:
    """Have connections use these options as well, those of this process too."""
    connection = connections[alias]
    before = connection.settings_dict["OPTIONS"]
    connection.close()
    connection.settings_dict["OPTIONS"] = {**before, **options}
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["OPTIONS"] = before


class ThreadOfQueries:
    """Runs what queries in a thread, on the connections that its maker's thread had.

    Django refuses queries in the thread of an asyncio loop, and its own way out,
    `sync_to_async`, needs asyncio.  In such a loop `connections` also gives every
    task new connections: so this is made before the loop runs.
    """

    def __init__(self) -> None:
        self._lent = connections.all()

    async def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        for connection in self._lent:
            connection.inc_thread_sharing()
        try:
            return await anyio.to_thread.run_sync(lambda: self._call(function, *args, **kwargs))
        finally:
            for connection in self._lent:
                connection.dec_thread_sharing()

    def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        for connection in self._lent:
            connections[connection.alias] = connection
        try:
            return function(*args, **kwargs)
        finally:
            for connection in self._lent:
                del connections[connection.alias]
