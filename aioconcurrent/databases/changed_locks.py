"""A call with its locks changed: in one transaction, with a read that locks, or without one of its locks.

Django itself is changed, in the process of the call and for the time of the call, so that
the exploration sees the statements of the changed call.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..base.sources import application_line, line_of, owner_of_file
from .watching.gate import gate

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from contextlib import AbstractContextManager
    from types import CodeType, FrameType

    from ..base.trace import LockSite

_FOR_UPDATE = re.compile(
    r"\s+FOR\s+(?:UPDATE|NO\s+KEY\s+UPDATE|SHARE|KEY\s+SHARE)(?:\s+OF\s+[^()']+?)?(?:\s+NOWAIT|\s+SKIP\s+LOCKED)?(?=\s*(?:[);]|--|/\*|\Z))",
    re.IGNORECASE,
)  # at the end of a query, be that a part of another


@dataclass(frozen=True)
class Change:
    """What is changed about a call.

    Attributes:
        aliases: Of the databases on which it is made in one transaction.
        locking: The text of the query that is to lock the rows that it reads, if one is.
        is_watched: Whether it is noted which locks it takes.
        without: The locks that it does not take.
    """

    aliases: tuple[str, ...] = ()
    locking: str = ""
    is_watched: bool = False
    without: frozenset[LockSite] = frozenset()

    @contextmanager
    def made(self) -> Iterator[None]:
        """Have it in a block."""
        from django.db import transaction

        with ExitStack() as stack:
            if self.locking:
                stack.enter_context(_locking(self.locking))
            if self.is_watched:
                stack.enter_context(_without(self.without))
            for alias in self.aliases:
                stack.enter_context(transaction.atomic(alias))
            yield


class ChangedCall:
    """A function that is called with a change; it has the name and the attributes of the function."""

    def __init__(self, function: Callable[..., Any] | str, change: Change) -> None:
        self._function, self._change = function, change
        if isinstance(function, str):
            self.__module__, _, self.__qualname__ = function.partition(":")
        else:
            functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from ..engine.wrapper import import_target

        target = import_target(self._function) if isinstance(self._function, str) else self._function
        with self._change.made():
            value = target(*args, **kwargs)
        return self._continued(value) if inspect.iscoroutine(value) else value

    async def _continued(self, coroutine: Any) -> Any:
        with self._change.made():
            return await coroutine


class ChangedCoroutine(ChangedCall):
    """The same of a coroutine function."""

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return await super().__call__(*args, **kwargs)


def changed(function: Callable[..., Any] | str, change: Change) -> ChangedCall:
    """Return the function with a change."""
    kind = ChangedCoroutine if inspect.iscoroutinefunction(function) else ChangedCall
    return kind(function, change)


def _locking(text: str) -> AbstractContextManager[None]:
    """Have a query say FOR UPDATE, before whoever steps it sees it."""
    return _rewriting(lambda sql: f"{sql} FOR UPDATE" if str(sql) == text else sql)


@contextmanager
def _rewriting(rewrite: Callable[[Any], Any]) -> Iterator[None]:
    from django.db.backends.utils import CursorWrapper

    execute: Any = CursorWrapper.execute

    def rewriting_execute(self: Any, sql: Any, params: Any = None) -> Any:
        return execute(self, rewrite(sql), params)

    with _replaced(CursorWrapper, execute=rewriting_execute):
        yield


@contextmanager
def _replaced(kind: type, **methods: Any) -> Iterator[None]:
    before = {name: getattr(kind, name) for name in methods}
    for name, method in methods.items():
        setattr(kind, name, method)
    try:
        yield
    finally:
        for name, method in before.items():
            setattr(kind, name, method)


@contextmanager
def _without(locks: Collection[LockSite]) -> Iterator[None]:
    """Note the locks that are taken, and do not take these."""
    from django.db.models.sql.compiler import SQLCompiler
    from django.db.transaction import Atomic

    blocks = _Blocks(locks)
    with (
        _rewriting(functools.partial(_unlocked, locks)),
        _replaced(Atomic, __enter__=blocks.enter(Atomic.__enter__), __exit__=blocks.exit(Atomic.__exit__)),
        _replaced(SQLCompiler, as_sql=blocks.compile(SQLCompiler.as_sql)),
    ):
        yield


def _unlocked(locks: Collection[LockSite], sql: Any) -> Any:
    if not isinstance(sql, str) or not any(not _is_quoted(match) for match in _FOR_UPDATE.finditer(sql)):
        return sql
    if not _is_among(locks, "FOR UPDATE", application_line()):
        return sql
    return _FOR_UPDATE.sub(lambda match: match[0] if _is_quoted(match) else "", sql)


def _is_quoted(match: re.Match[str]) -> bool:
    return match.string.count("'", 0, match.start()) % 2 == 1


def _is_among(locks: Collection[LockSite], kind: Any, source: str | None) -> bool:
    from ..base.trace import LockSite

    lock = LockSite(kind, source or "")
    gate.locks.add(lock)
    return lock in locks


@dataclass
class _Blocks:
    """The blocks of `atomic()` that are entered, and those among them that do nothing.

    Attributes:
        locks: That are not taken.
    """

    locks: Collection[LockSite]
    _of_thread: threading.local = field(default_factory=threading.local)

    @property
    def _left_out(self) -> dict[int, list[bool]]:
        """For the id of each block that is entered now, and each time that it is, whether it does nothing."""
        found: dict[int, list[bool]] = vars(self._of_thread).setdefault("left_out", {})
        return found

    def enter(self, enter: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def enter_or_not(block: Any) -> Any:
            place = _place_of_block()
            is_left_out = place is not None and _is_among(self.locks, "atomic", place)
            result = None if is_left_out else enter(block)
            self._left_out.setdefault(id(block), []).append(is_left_out)
            return result

        return enter_or_not

    def exit(self, leave: Callable[..., Any]) -> Callable[..., Any]:
        def leave_or_not(block: Any, *error: Any) -> Any:
            times = self._left_out.get(id(block), [])
            is_left_out = times.pop() if times else False
            if not times:
                self._left_out.pop(id(block), None)
            return None if is_left_out else leave(block, *error)

        return leave_or_not

    def compile(self, as_sql: Callable[..., Any]) -> Callable[..., Any]:
        """Django refuses FOR UPDATE outside of a transaction, which a database does not."""

        def as_sql_in_block(compiler: Any, *args: Any, **kwargs: Any) -> Any:
            connection = compiler.connection
            if not any(map(any, self._left_out.values())):
                return as_sql(compiler, *args, **kwargs)
            connection.get_autocommit = lambda: False
            try:
                return as_sql(compiler, *args, **kwargs)
            finally:
                vars(connection).pop("get_autocommit", None)

        return as_sql_in_block


def _place_of_block() -> str | None:
    """Where a block of `atomic()` stands that is entered now; None if not the application, but Django has it."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__") == "contextlib":
        code = _code_of(frame.f_locals.get("func")) if frame.f_code.co_name == "inner" else None
        if code is not None:
            return _told(code, code.co_firstlineno)
        frame = frame.f_back
    return None if frame is None else _told(frame.f_code, frame.f_lineno)


def _code_of(function: Any) -> CodeType | None:
    """Of the function that `@atomic` decorates."""
    found: CodeType | None = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
    return found


def _told(code: CodeType, line: int) -> str | None:
    return None if owner_of_file(code.co_filename) == "machinery" else line_of(code, line)
