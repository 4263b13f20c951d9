"""Calls that say what time it is."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, date, datetime
from typing import NamedTuple

from django.utils import timezone


class Moment(NamedTuple):
    """What the clocks show that a program asks."""

    zoned: datetime
    naive: datetime
    day: date
    seconds: float
    of_django: datetime


def look() -> Moment:
    return Moment(datetime.now(UTC), datetime.now(), date.today(), time.time(), timezone.now())  # noqa: DTZ005, DTZ011


def look_twice() -> tuple[float, float]:
    """At the clock that a test can stop, 10 ms apart on one that it cannot."""
    first = time.time()
    start = time.perf_counter()
    while time.perf_counter() < start + 0.01:
        pass
    return first, time.time()


async def sleep_and_look() -> float:
    await asyncio.sleep(0.01)
    return time.time()


def hang() -> None:
    time.sleep(600)


def echo(value: object) -> object:
    return value
