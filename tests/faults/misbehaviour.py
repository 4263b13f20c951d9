"""What the tests of limits explore: functions that wait, die, hang or quarrel with the server, each in its own way."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from django.db import DatabaseError, InterfaceError, connections, transaction

from tests.faults.calls import sign_in, tell_of_termination
from tests.faults.processes import signed_in, wait_until
from tests.project.shop.calls import increment, increment_atomically
from tests.project.shop.models import Counter

FOR_EVER = 600  # seconds; no test waits as long


def poll_for_other(own: str, other: str, using: str) -> None:
    """Wait in the database for the other's row: one after another they never end."""
    counters = Counter.objects.using(using)
    counters.create(name=own)
    while not counters.filter(name=other).exists():
        pass


def sleep_between(pk: int, using: str) -> None:
    Counter.objects.using(using).get(pk=pk)
    time.sleep(FOR_EVER)


def sleep_in_the_database(pk: int, using: str) -> None:
    sleep = {"postgresql": "SELECT pg_sleep(600)", "mysql": "SELECT SLEEP(600)"}
    Counter.objects.using(using).filter(pk=pk).update(value=1)
    with connections[using].cursor() as cursor:
        cursor.execute(sleep[connections[using].vendor])


def sleep_at_the_end(pk: int, using: str) -> None:
    increment(pk, using)
    time.sleep(FOR_EVER)


def keep_advisory_lock(pk: int, using: str) -> int:
    """Take a lock that only the end of the session gives back."""
    lock = {"postgresql": "SELECT pg_advisory_lock(7)", "mysql": "SELECT GET_LOCK('shop', 600)"}
    with connections[using].cursor() as cursor:
        cursor.execute(lock[connections[using].vendor])
    return increment(pk, using)


def kill_itself(pk: int, using: str) -> None:
    increment(pk, using)
    os.kill(os.getpid(), signal.SIGKILL)


def exit_at_once(pk: int, using: str) -> NoReturn:
    with transaction.atomic(using):
        increment(pk, using)
        os._exit(3)


def die_after_an_insert(pk: int, using: str, path: str) -> None:
    """Die in the second run, where it was told ahead how far it may go."""
    increment_atomically(pk, using)
    with Path(path).open("a") as file:
        file.write(".")
    Counter.objects.using(using).create(name="made")
    if Path(path).stat().st_size == 4:
        os._exit(3)


def lose_connection(pk: int, using: str) -> None:
    """Let the server end this session in the middle of a transaction."""
    end = {"postgresql": "SELECT pg_terminate_backend(pg_backend_pid())", "mysql": "KILL CONNECTION_ID()"}
    with transaction.atomic(using):
        increment(pk, using)
        with connections[using].cursor() as cursor:
            cursor.execute(end[connections[using].vendor])


def end_the_session_that_locks(pk: int, using: str) -> None:
    """Lock a row, and end whatever session has noted itself in another one; note its own."""
    own = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT CONNECTION_ID()"}
    end = {"postgresql": "SELECT pg_terminate_backend(%s)", "mysql": "KILL %s"}
    vendor = connections[using].vendor
    counter = Counter.objects.using(using).get(pk=pk)
    with connections[using].cursor() as cursor:
        cursor.execute(own[vendor])
        [session] = cursor.fetchone()
        if counter.value:
            cursor.execute(end[vendor], [counter.value])
    Counter.objects.using(using).filter(pk=pk).update(value=session)
    Counter.objects.using(using).get(pk=pk)


def close_in_transaction(pk: int, using: str) -> None:
    with transaction.atomic(using):
        increment(pk, using)
        connections[using].close()


def leave_child(pk: int, using: str) -> None:
    """Fork a process that outlives the call."""
    if not os.fork():
        time.sleep(FOR_EVER)
    increment(pk, using)


def wait_for_file(folder: Path, own: str, other: str, pk: int, using: str) -> None:
    """Wait for the other call in a way that no database sees."""
    Counter.objects.using(using).get(pk=pk)
    (folder / own).touch()
    while not (folder / other).exists():
        time.sleep(0.001)


def write_in_transaction(pk: int, using: str) -> None:
    with transaction.atomic(using):
        Counter.objects.using(using).filter(pk=pk).update(value=1)


class UnforeseenError(Exception):
    pass


def raise_only() -> NoReturn:
    raise UnforeseenError("as always")


def sleep_in_transaction(pk: int, using: str) -> None:
    with transaction.atomic(using):
        Counter.objects.using(using).filter(pk=pk).update(value=1)
        time.sleep(FOR_EVER)


def die_while_it_stands(pk: int, using: str, *, dies: bool) -> None:
    """End this process from a thread while another call runs."""
    if dies:
        threading.Timer(0.1, lambda: os._exit(3)).start()
    Counter.objects.using(using).get(pk=pk)
    time.sleep(0 if dies else 0.3)
    Counter.objects.using(using).filter(pk=pk).update(value=1)


def lose_session_to_somebody(pk: int, using: str) -> None:
    """Have a session that is none of the calls' end this one."""
    counter = Counter.objects.using(using).get(pk=pk)
    _end_from_outside(connections[using])
    with contextlib.suppress(DatabaseError, InterfaceError):
        Counter.objects.using(using).filter(pk=counter.pk).update(value=1)
    connections[using].close()


def _end_from_outside(connection: Any) -> None:
    own = connection.connection
    session = own.info.backend_pid if connection.vendor == "postgresql" else own.thread_id()
    other = connection.copy()
    other.connect()
    cursor = other.connection.cursor()
    cursor.execute(
        f"SELECT pg_terminate_backend({session})" if connection.vendor == "postgresql" else f"KILL {session}"
    )
    other.connection.close()


def write_and_tell_of_termination(pk: int, using: str, folder: Path) -> None:
    """Change the row, and leave a file when asked to end, but do not end."""
    increment(pk, using)
    tell_of_termination(folder)


class HangingArgument:
    """Cannot be unpickled in more than so many processes: the others hang while they get ready."""

    def __init__(self, folder: Path, processes: int) -> None:
        self._made = _unpickled, (folder, processes)

    def __reduce__(self) -> tuple[Callable[[Path, int], None], tuple[Path, int]]:
        return self._made


def _unpickled(folder: Path, processes: int) -> None:
    sign_in(folder)
    if len(signed_in(folder)) > processes:
        time.sleep(FOR_EVER)


def write_and_sleep(pk: int, using: str, _: object) -> None:
    increment(pk, using)
    time.sleep(FOR_EVER)


def lose_session_unnoticed(pk: int, using: str) -> int:
    """Have somebody end a session that is closed then anyway: the call goes on with another one."""
    connection = connections[using]
    counter = Counter.objects.using(using).get(pk=pk)
    _end_from_outside(connection)
    connection.close()
    return Counter.objects.using(using).filter(pk=counter.pk).update(value=1)


def lose_session_at_the_end(pk: int, using: str) -> None:
    increment(pk, using)
    _end_from_outside(connections[using])


def write_while_others_do(pk: int, using: str, folder: Path) -> None:
    Counter.objects.using(using).filter(pk=pk).update(value=1)
    _let_others_write(folder)


def insert_while_others_do(pk: int, using: str, folder: Path) -> None:
    Counter.objects.using(using).create(name="of a call")
    _let_others_write(folder)


def write_where_others_have_locked(pk: int, using: str, folder: Path) -> None:
    _let_others_write(folder)
    Counter.objects.using(using).filter(pk=pk).update(value=1)


def read_value(pk: int, using: str) -> int:
    return Counter.objects.using(using).get(pk=pk).value


def _let_others_write(folder: Path) -> None:
    number = len(list(folder.glob("asks *"))) + 1
    (folder / f"asks {number}").write_text(str(os.getpid()))
    wait_until((folder / f"written {number}").exists)
