"""The results of a race."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, overload

from .._text import printable, shown
from ..base.sources import lines_of
from ..base.trace import Run, call_name, interleaved
from ..exceptions import WrappedError, describe_exit
from .unread import Unread

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from typing import SupportsIndex

    from typing_extensions import TypeVar

    from ..base.trace import Step
    from ..report.page import Story
    from ..report.terminal import Paper

    T = TypeVar("T", default=Any)  # so that plain `Outcomes` is `Outcomes[Any]`
else:
    from typing import TypeVar

    T = TypeVar("T")


_NOTHING = "Nothing was recorded. Make the race with options(record=True)."
_SHOWN = 300  # characters of an error that nobody has looked at


@dataclass(frozen=True, slots=True)
class CallReport:
    """How one call went, whatever it returned.

    Attributes:
        call: The text of the call.
        pid: Its process id; None if its process could not be started.
        started: When the function was entered, in seconds of `time.monotonic`,
            which is one clock for all processes; None if it never was.
        finished: When the function was left, likewise.
        exit_status: The exit status of its process, as in `subprocess.Popen.returncode`;
            None if it is unknown.
        output: What it printed to stdout and stderr, in order; the beginning and the
            end if that is long.
        steps: What it did to shared data, in the order in which the steps began; recorded
            only with `options(record=True)`.
        unrecorded: How many more steps the call made than were recorded.
    """

    call: str
    pid: int | None
    started: float | None
    finished: float | None
    exit_status: int | None
    output: str = field(repr=False)
    steps: tuple[Step, ...] = field(default=(), repr=False)
    unrecorded: int = 0

    @property
    def duration(self) -> float | None:
        """How long the function ran, in seconds; None if it did not end by returning or raising."""
        return None if self.started is None or self.finished is None else self.finished - self.started


class Outcomes(list[T | WrappedError], Generic[T]):
    """One item per call, in the order of the calls: what it returned, or a `WrappedError`.

    `Outcomes[bool]` is the type for calls that return a bool.

    If nobody looks at an error among them, an `UnreadResultWarning` is given.  `values`, `len()`,
    `count()` and `in` do not show errors; everything else does.

    Attributes:
        reports: One `CallReport` per call, in the same order.
    """

    _unread = Unread()

    def __init__(self, items: Iterable[T | WrappedError] = (), reports: Iterable[CallReport] = ()) -> None:
        super().__init__(items)
        self.reports = list(reports)

    @property
    def values(self) -> list[T]:
        """The values that calls returned, without the errors."""
        return [item for item in list.__iter__(self) if not isinstance(item, WrappedError)]

    @property
    def errors(self) -> list[WrappedError]:
        """One `WrappedError` for each call that did not return."""
        return [item for item in self if isinstance(item, WrappedError)]

    def raise_errors(self) -> None:
        """Raise what the calls raised, if any did.

        Raises:
            BaseExceptionGroup: The errors of the calls; an `ExceptionGroup` if each
                is an `Exception`.
        """
        if errors := self.errors:
            raise BaseExceptionGroup(
                f"{len(errors)} of {len(self)} concurrent calls failed", [wrapped.error for wrapped in errors]
            )

    def lanes(self, width: int | None = None) -> str:
        """Draw what the calls did, side by side on one time axis, if it was recorded.

        Args:
            width: The width in characters; by default that of the terminal, or 100 if there is none.
        """
        from ..report.terminal import Paper

        return self.drawn(Paper.of_output(width))

    def drawn(self, paper: Paper) -> str:
        """Draw the lanes for this width, encoding and colours."""
        from ..report.lanes import as_text, timed_lanes

        run = recorded_run(self)
        if not run.steps:
            return _NOTHING
        calls = [_without_module(report) for report in self.reports]
        picture = timed_lanes(run, calls, [report.finished for report in self.reports])
        notes = (
            f"{call_name(number)} made {report.unrecorded} more steps, which are not recorded."
            for number, report in enumerate(self.reports)
            if report.unrecorded
        )
        return "\n".join([as_text(picture, paper), *notes])

    def _watch(self) -> Unread:
        texts = {index: str(item) for index, item in enumerate(self) if isinstance(item, WrappedError)}
        self._unread = Unread(texts, partial(_unread_text, texts, len(self)))
        return self._unread

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> T | WrappedError: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[T | WrappedError]: ...
    def __getitem__(self, index: SupportsIndex | slice, /) -> Any:
        found = super().__getitem__(index)
        indexes = range(len(self))[index]
        self._unread.look(indexes if isinstance(indexes, range) else [indexes])
        return found

    def __iter__(self) -> Iterator[T | WrappedError]:
        self._unread.look()
        return super().__iter__()

    def __reversed__(self) -> Iterator[T | WrappedError]:
        self._unread.look()
        return super().__reversed__()

    def __eq__(self, other: object, /) -> bool:
        self._unread.look()
        return super().__eq__(other)

    def __ne__(self, other: object, /) -> bool:
        self._unread.look()
        return super().__ne__(other)

    def __add__(self, other: list[Any], /) -> list[Any]:
        return [*self, *other]

    def copy(self) -> list[T | WrappedError]:
        """Return a plain list of them."""
        return [*self]

    def __str__(self) -> str:
        starts = [report.started for report in self.reports if report.started is not None]
        begin = min(starts, default=0.0)
        return "\n".join(_line(item, report, begin) for item, report in zip(self, self.reports, strict=True))


def recorded_run(outcomes: Outcomes[Any]) -> Run:
    """What the calls did, to be shown; without steps if that was not recorded."""
    from ..sql.secrets import Secrets, hidden_texts

    steps = interleaved(report.steps for report in outcomes.reports)
    return Secrets(steps, hidden_texts()).run(Run(tuple(outcomes), {}, steps))


def story_of_race(outcomes: Outcomes[Any], title: str, test_id: str = "") -> Story:
    """What a page tells of a race that was recorded."""
    from ..report.page import Story

    return Story(
        title=title,
        test_id=test_id,
        calls=[report.call.partition(", ")[2] for report in outcomes.reports],
        run=recorded_run(outcomes),
        outputs=[report.output for report in outcomes.reports],
    )


def _without_module(report: CallReport) -> str:
    """The call without its place among the others and without the function's module."""
    function, bracket, arguments = report.call.partition(", ")[2].partition("(")
    return function.rpartition(".")[2] + bracket + arguments


def _unread_text(texts: Mapping[int, str], total: int, left: Collection[int]) -> str:
    first = texts[min(left)].partition("\n")[0]
    return (
        f"{len(left)} of {total} calls ended with an error that nobody has looked at. Write outcomes.raise_errors(), "
        f"or look at outcomes.errors, before you use the values. The first: {first[:_SHOWN]}"
    )


def _line(item: object, report: CallReport, begin: float) -> str:
    if report.started is None:
        times = "never started"
    elif report.finished is None:
        times = f"{_ms(report.started - begin)} -> {describe_exit(report.exit_status)}"
    else:
        times = f"{_ms(report.started - begin)} -> {_ms(report.finished - begin)}"
    text, places = printable(shown(item)), []
    if isinstance(item, WrappedError):
        text, places = str(WrappedError(item.error)), lines_of(item.error)[-1:]
    return "\n  at ".join([f"{report.call} [pid {report.pid}, {times}]: {text}", *map(printable, places)])


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"
