"""What the tests give as `options(prepare=...)`, and functions that tell whether it ran."""

import time

from tests.project.shop.models import Counter

TIMES: list[float] = []


def prepare() -> None:
    TIMES.append(time.monotonic())


def when() -> float:
    """Return what `prepare` left in this process."""
    [found] = TIMES
    return found


def fail() -> None:
    raise LookupError("nothing is ready")


def count_counters() -> None:
    TIMES.append(Counter.objects.count())
