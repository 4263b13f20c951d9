"""Where the bars of a recorded race lie on one common axis of time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property

from ..base.trace import Run, call_name
from .sql import operation_text

_LANE, _BAR, _AXIS = 26, 14, 24
_MARGIN = 4.0  # per cent, left for the letters
_TICKS = 5
_LONGEST_TITLE = 160


@dataclass(frozen=True, slots=True)
class Bar:
    """One step: where it lies, in per cent of the width and in pixels of the height, and what it says."""

    index: int
    call: int
    left: str
    width: str
    top: int
    kind: str
    title: str

    @property
    def number(self) -> int:
        """The number of the step, counted from 1."""
        return self.index + 1


@dataclass(frozen=True, slots=True)
class Link:
    """From the step that set another free down or up to that one."""

    left: str
    top: int
    bottom: int


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the axis and its label."""

    left: str
    text: str


@dataclass(frozen=True)
class Timeline:
    """A run with times as a picture: one lane per call, one bar per step.

    Attributes:
        marked: The indexes of the steps that matter most.
    """

    run: Run
    calls: int
    marked: Collection[int] = ()
    bar_height: int = _BAR
    axis: int = _AXIS

    @property
    def height(self) -> int:
        """The height of the picture, in pixels."""
        return _AXIS + _LANE * self.calls

    @property
    def lanes(self) -> list[tuple[int, str, int]]:
        """Each call with its letter and the middle of its lane."""
        return [(call, call_name(call), _top(call) + _BAR // 2) for call in range(self.calls)]

    @cached_property
    def _span(self) -> float:
        ends = [step.started if step.ended is None else step.ended for step in self.run.steps]
        return max(max(ends, default=0.0) - self.run.begun, 1e-6)

    @property
    def bars(self) -> Iterator[Bar]:
        """The steps, those that others were waiting for last, so that they lie on top."""
        for index, step in enumerate(self.run.steps):
            end = self.run.begun + self._span if step.ended is None else step.ended
            kind = (
                "failed" if step.error else "waiting" if step.waited_for else "marked" if index in self.marked else ""
            )
            width = (end - step.started) / self._span * (100 - _MARGIN)
            title = f"{index + 1} {call_name(step.call)}: {operation_text(step.operation)}"[:_LONGEST_TITLE]
            took = "still running" if step.ended is None else milliseconds(end - step.started)
            title = f"{title} ({took})"
            yield Bar(index, step.call, self._left(step.started), f"{width:.3f}%", _top(step.call), kind, title)

    @property
    def links(self) -> Iterator[Link]:
        """Who set whom free, and when."""
        for setter, waiters in self.run.set_free.items():
            for waiter in waiters:
                ended = self.run.steps[waiter].ended
                if ended is not None:
                    tops = sorted(_top(self.run.steps[each].call) + _BAR // 2 for each in (setter, waiter))
                    yield Link(self._left(ended), *tops)

    @property
    def ticks(self) -> Iterator[Tick]:
        """Round times, about five of them."""
        rough = self._span / _TICKS
        magnitude = 10.0 ** _exponent(rough)
        distance = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= rough)
        for count in range(int(self._span / distance) + 1):
            yield Tick(self._left(self.run.begun + count * distance), _axis_label(count * distance, distance))

    def _left(self, time: float) -> str:
        return f"{_MARGIN + (time - self.run.begun) / self._span * (100 - _MARGIN):.3f}%"


def _top(call: int) -> int:
    return _AXIS + call * _LANE + (_LANE - _BAR) // 2


def _exponent(value: float) -> int:
    return int(f"{value:e}".partition("e")[2])


def _axis_label(seconds: float, distance: float) -> str:
    if distance >= 1:
        return f"{seconds:.0f} s"
    digits = max(-_exponent(distance) - 3, 0)
    return f"{seconds * 1000:.{digits}f} ms"


def milliseconds(seconds: float) -> str:
    """A time for reading."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.2f} ms"
