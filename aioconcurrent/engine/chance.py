"""Keeps chance out of a stepped call: its wall clock stands still, and everything random is seeded.

Two runs of one order then end alike, so that endings can be compared value by value.
Monotonic clocks run, because they measure how long to wait.  time-machine moves the wall
clock, below the level of Python.
"""

from __future__ import annotations

import os
import random
import sys
import uuid
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

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
