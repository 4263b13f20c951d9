"""Explores calls in the middle of a test, whose transactions are committed so that other processes see their rows.

`TestCase` and the mark `django_db` hold the rows of a class and those of a test in
transactions that are rolled back.  In a hunt the class's rows are committed before the first
test, and a test's at the moment of an exploration; then the transaction begins anew, with its
savepoints.  For Django it has never ended, so that `on_commit` and `select_for_update` behave
as before, and the test goes on as if nothing had happened.  Where Django would remove rows
by a rollback, committed rows are restored from a copy of what was there before.
"""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from ..databases.handoff import is_in_memory, look
from ..databases.state import open_state
from ..running.question import question as asked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..databases.handoff import View
    from ..results.exploration import Exploration
    from ..running.question import Question
    from .options import HuntOptions

    Atomics = dict[str, Any]


class _Copy(Protocol):
    """The rows of a database as they were."""

    def restore(self) -> None: ...
    def close(self) -> None: ...


class _MemoryCopy:
    """Of a database in memory, which only its own connection sees."""

    def __init__(self, connection: Any) -> None:
        self._source = connection
        self._copy = sqlite3.connect(":memory:", check_same_thread=False)
        connection.connection.backup(self._copy)

    def restore(self) -> None:
        self._copy.backup(self._source.connection)

    def close(self) -> None:
        self._copy.close()


class Committing:
    """What is committed, by the transactions that Django believes to be open.

    `install` puts it into Django's `TestCase`; `is_on` switches it.
    """

    def __init__(self) -> None:
        self.is_on = False
        self._copies: dict[int, list[tuple[Any, _Copy]]] = {}  # by the id of what `_enter_atomics` returned
        self._is_installed = False

    def install(self) -> None:
        """Be told of the transactions of tests."""
        if self._is_installed:
            return
        self._is_installed = True
        from django.test import TestCase

        kind: Any = TestCase
        enter, roll_back = kind._enter_atomics.__func__, kind._rollback_atomics.__func__
        kind._enter_atomics = classmethod(lambda cls: self._enter(cls, enter))
        kind._rollback_atomics = classmethod(lambda cls, atomics: self._roll_back(cls, atomics, roll_back))

    def _enter(self, cls: Any, enter: Callable[[Any], Atomics]) -> Atomics:
        if not self.is_on:
            return enter(cls)
        from django.db import connections

        copies: list[tuple[Any, _Copy]] = []
        try:
            for alias in cls._databases_names(include_mirrors=False):
                connection = connections[alias]
                connection.ensure_connection()
                with between_transactions(connection):
                    copies.append((connection, _copy(connection)))
            atomics = enter(cls)
        except BaseException:
            _close(copies)
            raise
        self._copies[id(atomics)] = copies
        return atomics

    def _roll_back(self, cls: Any, atomics: Atomics, roll_back: Callable[[Any, Atomics], None]) -> None:
        copies = self._copies.pop(id(atomics), [])
        try:
            roll_back(cls, atomics)
            for connection, copy in copies:
                with between_transactions(connection):
                    copy.restore()
        finally:
            _close(copies)


def _copy(connection: Any) -> _Copy:
    if is_in_memory(connection.settings_dict):
        return _MemoryCopy(connection)
    return open_state(connection.alias, connection.settings_dict)


def _close(copies: list[tuple[Any, _Copy]]) -> None:
    for _, copy in copies:
        copy.close()


@contextmanager
def committed() -> Iterator[None]:
    """Let other processes see, in a block, the rows of all transactions of this thread's connections."""
    from django.db import connections

    with ExitStack() as stack:
        for connection in connections.all(initialized_only=True):
            stack.enter_context(between_transactions(connection))
        yield


@contextmanager
def between_transactions(connection: Any) -> Iterator[None]:
    """Commit what a connection has written, and begin its transaction anew after a block; Django never knows."""
    if connection.connection is None or not connection.in_atomic_block:
        yield
        return
    driver = connection.connection
    driver.commit()
    try:
        yield
    finally:
        if connection.vendor == "sqlite":
            driver.execute("BEGIN")
        for name in filter(None, connection.savepoint_ids):
            cursor = driver.cursor()
            cursor.execute(f"SAVEPOINT {connection.ops.quote_name(name)}")
            cursor.close()


committing = Committing()


_UNCOMPARED = {"django.contrib.sessions": "sessions.Session", "django.contrib.admin": "admin.LogEntry"}


def explored(calls: Sequence[object], options: HuntOptions) -> Exploration:
    """Explore calls with the rows that this thread's transactions hold."""
    from ..running.own_loop import run_blocking

    view = look()
    with committed():
        return run_blocking(_quietly, _asked(calls, options), [_without_transactions(view)])


def _asked(calls: Sequence[object], options: HuntOptions) -> Question:
    return asked(
        calls,
        check=None,
        refusals=(),
        ignore=uncompared(options),
        max_schedules=options.schedules,
        max_seconds=options.pair_seconds,
    )


def uncompared(options: HuntOptions) -> tuple[str, ...]:
    """Models and fields in which a difference wastes the time of whoever reads of it, and those that were named."""
    from django.apps import apps
    from django.conf import settings

    usual = [name for app, name in _UNCOMPARED.items() if apps.is_installed(app)]
    if apps.is_installed("django.contrib.auth"):
        user: Any = apps.get_model(settings.AUTH_USER_MODEL)
        usual += [f"{user._meta.label}.last_login" for each in user._meta.concrete_fields if each.name == "last_login"]
    return (*usual, *options.ignore)


def _without_transactions(view: View) -> View:
    """The same when all that this thread has written is committed."""
    return replace(view, in_atomic=frozenset())


async def _quietly(question: Question, views: Sequence[View], in_caller: Any) -> Exploration:
    """Explore, and bring nothing of what the calls did into this process: no e-mail, log record, output or call of a
    mock."""
    from ..running.explore import run_exploration

    async def nothing(*_: object) -> None:
        pass

    return await run_exploration(question, views, nothing)
