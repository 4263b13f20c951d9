"""What a soak calls: a function that works on a row until its fault comes, and then never goes on."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, InterfaceError, connections
from django.db.models import F

from tests.faults.raises import ExitingOnTheWayError, ForeverInterruptedError, LockHoldingError, Raising, Unreadable
from tests.project.shop.models import Counter

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.soak.plan import Fault

SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGUSR1, signal.SIGALRM]
UNPICKLABLE: list[Callable[[], object]] = [
    threading.Lock,
    Unreadable,
    lambda: Raising(SystemExit("not me")),
    lambda: Raising(KeyboardInterrupt("not now")),
    lambda: (number for number in range(3)),
    lambda: _raise(LockHoldingError("locked")),
    lambda: _raise(ForeverInterruptedError("not now")),
    lambda: _raise(ExitingOnTheWayError("not me")),
]
_END = {"postgresql": "SELECT pg_terminate_backend(%s)", "mysql": "KILL %s"}
_LOCK = {"postgresql": "SELECT pg_advisory_lock(%s)", "mysql": "SELECT GET_LOCK(concat('soak', %s), 60)"}
_FLOOD = b"x" * 65535 + b"\n"


def work(sign: str, fault: Fault, pk: int, using: str) -> object:
    """Change the row, and come to this end; without a fault it returns `sign`."""
    match fault.kind:
        case "none":
            for _ in range(fault.detail % 5):
                _change(pk, using)
        case "flood":
            _flood()
        case "error":
            _change(pk, using)
            _raise(ValueError(sign))
        case "unpicklable":
            _change(pk, using)
            return UNPICKLABLE[fault.detail % len(UNPICKLABLE)]()
        case "termination":
            session = _lock(pk, using)
            _soon(fault, lambda: _terminate(session, using))
            while True:
                _change(pk, using)
        case _:
            _soon(fault, HITS[fault.kind](fault))
            _work_for_ever(pk, using)
    return sign


def increment(fault: Fault, pk: int, using: str) -> None:
    """Add one the wrong way; for explorations, in which the process of a fault is hit whatever it is at."""
    _hit_process(fault, using)
    counter = Counter.objects.using(using).get(pk=pk)
    counter.value += 1
    counter.save()


def increment_atomically(fault: Fault, pk: int, using: str) -> None:
    """Add one in the database."""
    _hit_process(fault, using)
    _change(pk, using)


def _hit_process(fault: Fault, using: str) -> None:
    if fault.kind in HITS:
        _soon(fault, HITS[fault.kind](fault))
    elif fault.kind == "termination":
        session = _session(using)
        _soon(fault, lambda: _terminate(session, using))
    elif fault.kind == "flood":
        _flood()


def _kill(fault: Fault) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), SIGNALS[fault.detail % len(SIGNALS)])


HITS: dict[str, Callable[[Fault], Callable[[], None]]] = {
    "kill": _kill,
    "stop": lambda fault: lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "exit": lambda fault: lambda: os._exit(fault.detail),
    "close": lambda fault: lambda: os.closerange(3, 1000),
    "template killed": lambda fault: lambda: os.kill(os.getppid(), signal.SIGKILL),
}


def _soon(fault: Fault, hit: Callable[[], None]) -> None:
    timer = threading.Timer(fault.delay, hit)
    timer.daemon = True
    timer.start()


def _change(pk: int, using: str) -> None:
    Counter.objects.using(using).filter(pk=pk).update(value=F("value") + 1)


def _work_for_ever(pk: int, using: str) -> None:
    """In statements, between them and, on a server, with a lock that outlives transactions."""
    while True:
        with contextlib.suppress(DatabaseError, InterfaceError):
            _lock(pk, using)
            for _ in range(20):
                _change(pk, using)
        time.sleep(0.002)


def _lock(pk: int, using: str) -> int | None:
    connection = connections[using]
    if connection.vendor in _LOCK:
        with connection.cursor() as cursor:
            cursor.execute(_LOCK[connection.vendor], [pk])
    return _session(using)


def _session(using: str) -> int | None:
    connection: Any = connections[using]
    connection.ensure_connection()
    if connection.vendor == "postgresql":
        return int(connection.connection.info.backend_pid)
    return int(connection.connection.thread_id()) if connection.vendor == "mysql" else None


def _terminate(session: int | None, using: str) -> None:
    """Have the server end a session, over a connection beside Django's."""
    connection: Any = connections[using].copy()
    driver = connection.get_new_connection(connection.get_connection_params())
    with contextlib.closing(driver), contextlib.suppress(Exception):
        driver.cursor().execute(_END[connection.vendor], [session])


def _flood() -> None:
    for _ in range(16):
        os.write(1, _FLOOD)
        os.write(2, _FLOOD)
    for number in range(500):
        logging.getLogger("soak").warning("%d %s", number, "x" * 1000)
    print("last words", file=sys.stderr)


def _raise(error: BaseException) -> object:
    raise error
