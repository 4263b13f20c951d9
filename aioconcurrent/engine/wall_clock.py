"""The wall clock of a test that freezegun or time-machine has moved, carried into the calls.

In a call, time-machine moves the clock, whichever of the two has moved the test's.  It works
below the level of Python, so no module keeps the real clock because it was imported early.
Monotonic clocks run, because drivers and event loops time their waits by them.
"""

from __future__ import annotations

import calendar
import os
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ..base.own_clock import monotonic


@dataclass(frozen=True, slots=True)
class WallClock:
    """What a clock showed when it was looked at.

    Attributes:
        instant: In nanoseconds since the epoch.
        taken: When that was, by `own_clock.monotonic`.
        ticks: Whether it runs.
        of_freezegun: Whether freezegun has moved it: then local times are those of UTC.
        offset: The `tz_offset` of freezegun, in seconds.
        step: How many seconds each look moves it on, as `auto_tick_seconds` of freezegun says.
    """

    instant: int
    taken: float
    ticks: bool
    of_freezegun: bool = False
    offset: float = 0.0
    step: float = 0.0

    @classmethod
    def capture(cls) -> WallClock | None:
        """Look at the clock of this process; None if nobody has moved it."""
        freezegun, time_machine = sys.modules.get("freezegun.api"), sys.modules.get("time_machine")
        if freezegun is not None and freezegun.freeze_factories:
            return cls._of_freezegun(freezegun)
        if time_machine is not None and time_machine.traveller_stack:
            return cls(time.time_ns(), monotonic(), time_machine.traveller_stack[-1]._tick)
        return None

    @classmethod
    def _of_freezegun(cls, freezegun: Any) -> WallClock:
        factory = freezegun.freeze_factories[-1]
        step = getattr(factory, "step_width", 0.0)
        shown = factory.time_to_freeze if step else factory()
        instant = calendar.timegm(shown.timetuple()) * 10**9 + shown.microsecond * 1000
        ticks, offset = freezegun.tick_flags[-1] and not step, freezegun.tz_offsets[-1].total_seconds()
        return cls(instant, monotonic(), ticks, True, offset, step)

    def apply(self) -> None:
        """Let the clock of this process show the same, for the rest of its life."""
        instant = self.instant + (round((monotonic() - self.taken) * 10**9) if self.ticks else 0)
        if self.offset or self.step:
            self._freeze(instant)
            return
        from .chance import travel_to

        travel_to(instant, ticks=self.ticks)
        time.time()  # a clock that ticks begins to when it is looked at first
        if self.of_freezegun and hasattr(time, "tzset") and time.localtime().tm_gmtoff:
            os.environ["TZ"] = "UTC"
            time.tzset()

    def _freeze(self, instant: int) -> None:
        """Do as freezegun does where time-machine has nothing like it."""
        from freezegun import freeze_time

        moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=instant // 1000)
        offset = timedelta(seconds=self.offset)
        freeze_time(moment, tz_offset=offset, tick=self.ticks, auto_tick_seconds=self.step).start()
