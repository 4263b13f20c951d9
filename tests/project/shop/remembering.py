"""Calls that keep something in their process, or leave something behind there, each beside its twin that does not."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from django.conf import settings
from django.db import connections, transaction
from django.db.models import F

from .models import Counter

seen = 0
balances: dict[int, int] = {}
steps: list[str] = []


class Till:
    is_behind: ClassVar[bool] = False


def nothing() -> None:
    """Prepares nothing."""


def add(pk: int, using: str) -> None:
    Counter.objects.using(using).filter(pk=pk).update(value=F("value") + 1)


def look(pk: int, using: str) -> int:
    return Counter.objects.using(using).values_list("value", flat=True).get(pk=pk)


def add_twice(pk: int, using: str) -> None:
    """Nothing is remembered."""
    add(pk, using)
    look(pk, using)
    add(pk, using)


def add_and_count(pk: int, using: str) -> None:
    global seen
    seen += 1
    add(pk, using)
    look(pk, using)
    add(pk, using)


@lru_cache
def remembered(pk: int, using: str) -> int:
    return look(pk, using)


def add_after_remembering(pk: int, using: str) -> None:
    remembered(pk, using)
    add(pk, using)


def add_from_cache(pk: int, using: str) -> None:
    """A cache that hides, from the second call of a process on, what others have written."""
    if pk not in balances:
        balances[pk] = look(pk, using)
    Counter.objects.using(using).filter(pk=pk).update(value=balances[pk] + 1)


def add_from_manager(pk: int, using: str) -> None:
    Counter.remembered.value_of(pk, using)
    add(pk, using)


def add_to_settings(pk: int, using: str) -> None:
    look(pk, using)
    settings.SHOP_IS_OPEN = not getattr(settings, "SHOP_IS_OPEN", False)
    add(pk, using)


def add_with_default(pk: int, using: str, known: list[int] = []) -> None:  # noqa: B006 - to be remembered
    known.append(pk)
    add(pk, using)
    look(pk, using)


def add_unless_behind(pk: int, using: str) -> None:
    """Remembers, in the orders only in which the other call came in between, that it did."""
    before = look(pk, using)
    with transaction.atomic(using):
        add(pk, using)
        if look(pk, using) > before + 1:
            Till.is_behind = True
    if Till.is_behind:
        add(pk, using)


def add_and_note(pk: int, using: str) -> None:
    """The same without remembering, which always ends alike."""
    before = look(pk, using)
    is_behind = False
    with transaction.atomic(using):
        add(pk, using)
        is_behind = look(pk, using) > before + 1
    steps.extend(["behind"] * (is_behind and before < 0))


def mark_unseen(pk: int, using: str, *, always: bool) -> None:
    """Remembers where nobody looks, in all orders or in those only in which the other call came in between."""
    before = look(pk, using)
    add(pk, using)
    marked = hasattr(json, "marked")
    if always or look(pk, using) > before + 1:
        vars(json)["marked"] = True
    if marked:
        look(pk, using)


def answer_unseen(pk: int, using: str) -> bool:
    """Answers, in a process that was behind before, what no fresh one does."""
    before = look(pk, using)
    add(pk, using)
    marked = hasattr(json, "marked")
    if look(pk, using) > before + 1:
        vars(json)["marked"] = True
    return marked


def lose(pk: int, using: str, calls: str) -> None:
    """A lost update; each call is put on record with its process."""
    with open(calls, "a", encoding="utf-8") as record:
        record.write(f"{os.getpid()}\n")
    value = look(pk, using)
    Counter.objects.using(using).filter(pk=pk).update(value=value + 1)


def refuse_when_behind(pk: int, using: str, calls: str) -> None:
    """Raises where the other call came in between; each call is put on record, and each that raises once more."""
    before = look(pk, using)
    with open(calls, "a", encoding="utf-8") as record:
        record.write(f"{os.getpid()} made\n")
    add(pk, using)
    if look(pk, using) > before + 1:
        with open(calls, "a", encoding="utf-8") as record:
            record.write(f"{os.getpid()} raised\n")
        raise BlockingIOError


def stand(pk: int, using: str, here: str) -> None:
    """Says that it is there, and stays."""
    add(pk, using)
    Path(here).touch()
    signal.pause()


def leave(what: str, pk: int, using: str) -> None:
    add(pk, using)
    look(pk, using)
    _LEAVE[what]()


def _leave_thread() -> None:
    threading.Thread(target=threading.Event().wait, daemon=True).start()


def _leave_file() -> None:
    descriptor, path = tempfile.mkstemp()
    os.unlink(path)
    os.dup(descriptor)
    os.close(descriptor)


def _import() -> None:
    with suppress(ImportError):
        import this  # noqa: F401


_LEAVE: dict[str, Callable[[], object]] = {
    "environment": lambda: os.environ.update(SHOP="open"),
    "directory": lambda: os.chdir(tempfile.gettempdir()),
    "thread": _leave_thread,
    "signal": lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN),
    "file": _leave_file,
    "child": lambda: os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "60"),
}


def run_each(statements: list[str], pk: int, using: str) -> list[Any]:
    """Run statements, and return what those find that find something."""
    add(pk, using)
    found = []
    with connections[using].cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
            found += [list(row) for row in cursor.fetchall()] if cursor.description else []
    look(pk, using)
    return found


def leave_function(pk: int, using: str) -> bool:
    """Registers a function with its connection to SQLite; returns whether there was one."""
    add(pk, using)
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pragma_function_list WHERE name = 'seven'")
        (known,) = cursor.fetchone()
    connections[using].connection.create_function("seven", 0, lambda: 7)
    return bool(known)


def leave_attributes(pk: int, using: str) -> tuple[int, int]:
    """Leaves an open transaction, with a callback, on Django's connection; returns what was left there before."""
    connection = connections[using]
    found = len(connection.run_on_commit), len(connection.atomic_blocks)
    look(pk, using)
    transaction.atomic(using).__enter__()
    transaction.on_commit(lambda: None, using=using)
    look(pk, using)
    add(pk, using)
    return found
