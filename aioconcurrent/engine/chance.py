"""Clock and randomness in a call: if it is stepped, its wall clock stands still, and everything random is seeded.

Two runs of one order then end alike, so that endings can be compared value by value.  The wall clock of a test
that freezegun or time-machine has moved is carried into every call, stepped or not.

In a call, time-machine moves the clock, whichever of the two has moved the test's.  It works below the level of
Python, so no module keeps the real clock because it was imported early.  Monotonic clocks run, because drivers
and event loops time their waits by them.
"""

from __future__ import annotations

import calendar
import os
import random
import sys
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from ..base.own_clock import monotonic
from . import urandom

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any


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


_seed = random.Random.seed
_entropy = random.Random()  # in place of the operating system's
_seeds = random.Random()  # for generators that are made without one


def make_certain(
    number: int,
    moment: int,
    generators: Iterable[random.Random],
    users: Callable[[], Iterable[dict[str, Any]]],
    draw: int = 0,
) -> None:
    """Let the clock of this process stand, and seed all that it draws; what was drawn before is forgotten.

    Args:
        number: Of the call.
        moment: Where its clock stands, as `time.time_ns` has it.
        generators: Those that are there already, which a fork shares with others.
        users: Finds the namespaces of the modules that have `os.urandom`.
        draw: Which of the things that this call might draw it is to draw.
    """
    seed = number if not draw else f"draw {draw} of call {number}"
    travel_to(moment)
    for generator in generators:
        generator.seed(seed)
    _entropy.seed(f"entropy of call {seed}")
    _seeds.seed(f"seeds of call {seed}")
    random.Random.seed = _seed_generator  # type: ignore[method-assign]
    random.seed = random._inst.seed
    random.seed(seed)
    if os.urandom is urandom.REAL:  # what is imported later has ours
        _replace_entropy(users())
    vars(uuid)["_node"] = _seeds.getrandbits(48) | 1 << 40  # as of a host whose address is not known (RFC 9562, 6.10)
    if "tempfile" in sys.modules:
        vars(sys.modules["tempfile"])["_name_sequence"] = None
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed(number + (draw << 16))


def drawn() -> int:
    """How far this process has drawn: the same number for two that have drawn the same."""
    return hash(tuple(_position(each) for each in (random._inst, _entropy, _seeds)))


def _position(generator: random.Random) -> tuple[tuple[int, ...], float]:
    """Where a generator is, in numbers alone: the hash of None is another in each process before Python 3.12."""
    _, numbers, pending = generator.getstate()
    return numbers, 0.0 if pending is None else pending


def _seed_generator(self: random.Random, a: float | str | bytes | bytearray | None = None, version: int = 2) -> None:
    _seed(self, _seeds.getrandbits(256) if a is None else a, version)


def _replace_entropy(users: Iterable[dict[str, Any]]) -> None:
    for names in users:
        for name in urandom.NAMES:
            if names.get(name) is urandom.REAL:
                names[name] = _draw
    if hasattr(os, "getrandom"):
        os.getrandom = lambda size, flags=0: _draw(size)


def _draw(size: int, /) -> bytes:
    return _entropy.randbytes(size)


@dataclass(frozen=True, slots=True)
class WallClock:
    """What a clock showed when it was looked at.

    Attributes:
        instant: In nanoseconds since the epoch.
        taken: When that was, by `clock.monotonic`.
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
