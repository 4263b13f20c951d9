"""Functions that use the database, for the tests of what a call may connect to."""

import gc
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from aioconcurrent.engine.protocol import Channel, Kind
from tests.project.shop.models import Counter


def count(using: str = "default") -> int:
    return Counter.objects.using(using).count()


async def count_async(using: str = "default") -> int:
    return await Counter.objects.using(using).acount()


def count_in_thread(using: str = "default") -> int:
    """Count in a thread that leaves its connection open."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(count, using).result()


def count_if_possible(using: str = "default") -> int | str:
    """Count, or return the name of the error that comes instead."""
    try:
        return count(using)
    except Exception as error:
        return type(error).__name__


def count_or_raise_from(using: str = "default") -> int:
    """Count, or raise an error of the application's own."""
    try:
        return count(using)
    except Exception as error:
        raise LookupError("no counters") from error


def count_and_exit(using: str = "default") -> NoReturn:
    """Count, and end the process whatever has come of it."""
    try:
        count(using)
    finally:
        os._exit(3)


def touch_late(path: Path) -> None:
    time.sleep(0.5)
    path.touch()


def create(name: str, using: str = "default") -> int:
    return Counter.objects.using(using).create(name=name).pk


def names(using: str = "default") -> list[str]:
    return list(Counter.objects.using(using).order_by("pk").values_list("name", flat=True))


def rename_all(name: str, using: str = "default") -> int:
    return Counter.objects.using(using).update(name=name)


def connect_again(using: str = "default") -> int:
    """Close the connection that is there and count with another one."""
    connections[using].close()
    return count(using)


def keep_a_thread_connected(using: str = "default") -> None:
    """Leave behind a thread that neither ends nor closes its connection."""
    connected = threading.Event()

    def stay() -> None:
        count(using)
        connected.set()
        threading.Event().wait()

    threading.Thread(target=stay, daemon=True).start()
    connected.wait()


def watch_the_result(report: str, using: str) -> None:
    """Write to the file `report`, when the result is sent, how many connections there were and how many are open."""
    opened = _open_connections(using)
    connect, send = BaseDatabaseWrapper.connect, Channel.send

    def noted_connect(connection: BaseDatabaseWrapper) -> None:
        connect(connection)
        opened.append(connection)

    def noted_send(self: Channel, kind: Kind, payload: bytes = b"") -> None:
        if kind is Kind.RESULT:
            Path(report).write_text(f"{len(opened)} opened, {len(_open_connections(using))} open")
        send(self, kind, payload)

    BaseDatabaseWrapper.connect = noted_connect  # type: ignore[method-assign, assignment]
    Channel.send = noted_send  # type: ignore[method-assign]


def _open_connections(using: str) -> list[BaseDatabaseWrapper]:
    """Those of all threads; the collector does not show what the template has frozen, which are this thread's."""
    found = {id(item): item for item in gc.get_objects() if issubclass(type(item), BaseDatabaseWrapper)}
    found |= {id(connection): connection for connection in connections.all(initialized_only=True)}
    return [item for item in found.values() if item.alias == using and item.connection is not None]
