"""Where time-machine is used: it moves the wall clock of a call's process, below the level of Python."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta, timezone

_ABSENT = "pytest" not in sys.modules
if _ABSENT:
    sys.modules["pytest"] = None  # type: ignore[assignment]  # time_machine imports it where it can, in 0.4 s
try:
    from time_machine import travel
finally:
    if _ABSENT:
        del sys.modules["pytest"]

# time_machine takes UTC, or the name of a zone, for the zone that the process is to be in; this one says nothing.
_EPOCH = datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))


def travel_to(instant: int, *, ticks: bool = False) -> None:
    """Let the wall clock of this process show an instant, for the rest of its life.

    Args:
        instant: As `time.time_ns` has it.
        ticks: Whether it goes on from there.
    """
    travel(_EPOCH + timedelta(microseconds=instant // 1000), tick=ticks).start()
