"""A schedule as a value: which call was let go at each decision, and its token.

    aioc1:0*2.1*3.0:kT3w_a

First come the choices, run-length coded where that is shorter.  Then there is one character per
step, a running hash of what was asked for, by which a replay notices the step at which the
program leaves the schedule, and `~` if the run never ends.  If only some of the calls are made,
their numbers follow, as in `aioc1:1.3:kT3w:1.3`.  If calls enqueue tasks, the number of the
enqueuing call follows for each task, as in `aioc1:0*2.1:kT3w::0`.  A schedule may be shorter
than the run: after its end the last call goes on while it can, else the lowest that can.

The beginning of a call is not a separate choice: a call begins with its first operation.
"""

import re
from base64 import urlsafe_b64encode
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain, groupby, pairwise, takewhile

from ...base.trace import Operation, Step, call_name
from ...exceptions import TokenError
from .standings import Decision, request

PREFIX = "aioc1"
STEPS = 1000  # of one run

_RUN = re.compile(r"(0|[1-9]\d{0,3})(?:\*([1-9]\d{0,5}))?")
_MARKS = re.compile(r"[A-Za-z0-9_-]*~?")
OPEN = "~"


@dataclass(frozen=True, slots=True)
class Schedule:
    """Choices to follow, and for as many of the first steps as known, what they asked for.

    Attributes:
        choices: Calls, by number.
        marks: A character a step; `OPEN` at the end if more steps follow.
        calls: Those that are made, if not all are.
        enqueuers: Of each task, which is a call after those that were given, the call that enqueues it.
    """

    choices: tuple[int, ...]
    marks: str = ""
    calls: tuple[int, ...] = ()
    enqueuers: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        steps: Sequence[Step],
        calls: tuple[int, ...] = (),
        *,
        is_endless: bool = False,
        enqueuers: tuple[int, ...] = (),
    ) -> "Schedule":
        """The shortest schedule that repeats these steps."""
        length = len(steps)
        while length and steps[length - 1].call == _unforced(steps, length - 1):
            length -= 1
        marker = _Marker()
        marks = [marker.mark(step.call, step.operation) for step in steps]
        choices = tuple(step.call for step in steps[:length])
        return cls(choices, "".join(marks) + OPEN * is_endless, calls, enqueuers)

    @classmethod
    def from_token(cls, token: str) -> "Schedule":
        """Read a token.

        Raises:
            TokenError: It is not one.
        """
        match token.strip().split(":"):
            case [prefix, runs, *rest] if prefix == PREFIX and len(rest) <= 3:
                marks, calls, enqueuers = (*rest, "", "", "")[:3]
                if not _MARKS.fullmatch(marks):
                    raise TokenError(token, "the part after the second colon has other characters than A-Z a-z 0-9 _ -")
                return cls(_choices(token, runs), marks, _choices(token, calls), _choices(token, enqueuers))
            case [prefix, *_] if prefix != PREFIX:
                raise TokenError(token, f"it does not begin with {PREFIX}:")
        raise TokenError(token, "it should have two to five parts between colons")

    @property
    def token(self) -> str:
        runs = ((choice, len(list(same))) for choice, same in groupby(self.choices))
        text = ".".join(min(".".join([f"{choice}"] * count), f"{choice}*{count}", key=len) for choice, count in runs)
        parts = [PREFIX, text, self.marks, *(".".join(map(str, each)) for each in (self.calls, self.enqueuers))]
        while not parts[-1] and len(parts) > 2:
            parts.pop()
        return ":".join(parts)


def _choices(token: str, runs: str) -> tuple[int, ...]:
    choices: list[int] = []
    for run in runs.split(".") if runs else ():
        match = _RUN.fullmatch(run)
        if match is None:
            raise TokenError(token, f"{run!r} should be the number of a call, or number*count")
        choices += [int(match[1])] * int(match[2] or 1)
    return tuple(choices)


def unforced(enabled: Collection[int], last: int | None) -> int:
    """Who goes where a schedule says nothing."""
    return last if last is not None and last in enabled else min(enabled)


def _unforced(steps: Sequence[Step], index: int) -> int:
    return unforced(steps[index].enabled, steps[index - 1].call if index else None)


def stretch(choices: Sequence[int], call: int) -> int:
    """How many of the first choices are this call."""
    return sum(1 for _ in takewhile(call.__eq__, choices))


def preemptions(steps: Sequence[Step]) -> int:
    """Count the switches away from a call that could have gone on."""
    return sum(before.call != step.call and before.call in step.enabled for before, step in pairwise(steps))


def is_serial(steps: Sequence[Step]) -> bool:
    """Tell whether each call ran from its first step to its last without another's between."""
    stretches = [call for call, _ in groupby(step.call for step in steps)]
    return len(stretches) == len(set(stretches))


def serial_order(steps: Sequence[Step], calls: int) -> tuple[int, ...]:
    """The calls in the order in which they began; those that did nothing last."""
    return tuple(dict.fromkeys((*(step.call for step in steps), *range(calls))))


def before_repeating(requests: Sequence[object]) -> int:
    """How many of these come before they only repeat themselves to their end, with the first two rounds of that."""
    tail = len(requests) // 4
    for period in range(1, tail // 2 + 1):
        if all(requests[-index] == requests[-index - period] for index in range(1, tail + 1)):
            start = len(requests) - tail - period
            while start and requests[start - 1] == requests[start - 1 + period]:
                start -= 1
            return start + 2 * period
    return len(requests)


def shrinks(choices: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield simpler schedules to try in place of `choices`, the boldest first.

    Each is shorter or has fewer switches, so that taking any of them for
    `choices` and starting over comes to an end.
    """
    for length in _halves(len(choices)):
        yield choices[:length]
    stretches = [list(same) for _, same in groupby(choices)]
    for index in range(len(stretches) - 2):
        first, second, third = stretches[index : index + 3]
        if first[0] == third[0]:
            for middle in (first + third + second, second + first + third):
                yield tuple(chain(*stretches[:index], middle, *stretches[index + 3 :]))


def _halves(length: int) -> Iterator[int]:
    """Half, three quarters and so on up to `length` - 1."""
    cut = length // 2
    while cut:
        yield length - cut
        cut //= 2


class _Marker:
    """Hashes the steps of a run as they come."""

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=6)

    def mark(self, worker: int, operation: Operation) -> str:
        self._hash.update(repr((worker, request(operation))).encode())
        return urlsafe_b64encode(self._hash.digest())[:1].decode()


@dataclass(frozen=True, slots=True)
class Departure:
    """The first step at which a replay found other than its schedule says."""

    number: int  # counted from 0
    worker: int
    found: Operation | None  # None if `worker` asks for nothing: it waits in the database, or has ended

    def __str__(self) -> str:
        if self.found is None:
            found = "asks for nothing there: it waits in the database, or has ended"
        else:
            found = f"asks for something else than when the token was made: {' '.join(request(self.found)).strip()}"
        return f"at step {self.number + 1}, where {call_name(self.worker)} {found}"


def take(worker: int, decision: Decision, steps: list[Step]) -> Operation:
    """Note that `worker` is let go, unless only to begin; return what it asks for."""
    operation = decision.ready[worker]
    if operation.kind != "start":
        steps.append(Step(worker, operation, enabled=frozenset(decision.ready)))
    return operation


class Serial:
    """Lets one call after another run to its end.

    Args:
        draw: Which of the random numbers that the calls might draw they are to draw.
    """

    def __init__(self, order: Sequence[int], draw: int = 0) -> None:
        self._order = order
        self.draw = draw

    def choose(self, decision: Decision) -> int | None:
        return next((call for call in self._order if call in decision.ready), None)

    def certain(self, call: int) -> int:
        """As long as it likes: all that come before it in the order have ended."""
        return STEPS


class Replay:
    """Follows a schedule; asked at every decision, like a run of the search."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._marker = _Marker()
        self._last: int | None = None
        self.steps: list[Step] = []
        self.departure: Departure | None = None
        self.is_disordered = False  # of two that waited for one lock the later was woken first

    def choose(self, decision: Decision) -> int | None:
        """Say who goes next, or None when nobody can."""
        number = len(self.steps)
        self.is_disordered = self.is_disordered or bool(decision.overtook)
        if not decision.ready:
            if number < len(self._schedule.marks.rstrip(OPEN)):
                self._depart(number, self._last or 0, None)
            return None
        self._last = worker = self._follow(number, decision, self._default(number, decision.ready))
        operation = take(worker, decision, self.steps)
        if operation.kind == "start":
            return worker
        mark = self._marker.mark(worker, operation)
        marks = self._schedule.marks
        if marks and marks[number : number + 1] != mark and OPEN not in marks[: number + 1]:
            self._depart(number, worker, operation)
        return worker

    def certain(self, call: int) -> int:
        number, marks = len(self.steps), self._schedule.marks
        planned = self._schedule.choices[number:]
        same = stretch(planned, call)
        if same < len(planned):
            return same
        return STEPS if OPEN not in marks else max(len(marks.rstrip(OPEN)) - number, same)

    def _default(self, number: int, ready: Collection[int]) -> int:
        """Who goes where nothing is planned: the last, but past the first round of a loop all in turn."""
        marks = self._schedule.marks
        if OPEN not in marks or number < len(marks.rstrip(OPEN)):
            return unforced(ready, self._last)
        last = -1 if self._last is None else self._last
        return min(ready, key=lambda call: (call <= last, call))

    def _follow(self, number: int, decision: Decision, default: int) -> int:
        if number >= len(self._schedule.choices):
            return default
        choice = self._schedule.choices[number]
        if choice in decision.ready:
            return choice
        self._depart(number, choice, None)
        return default

    def _depart(self, number: int, worker: int, found: Operation | None) -> None:
        if self.departure is None:
            self.departure = Departure(number, worker, found)
