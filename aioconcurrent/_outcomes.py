"""What comes back from a race."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic

from .exceptions import WrappedError, describe_exit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import TypeVar

    from ._recorded import RecordedStep

    T = TypeVar("T", default=Any)  # so that plain `Outcomes` is `Outcomes[Any]`
else:
    from typing import TypeVar

    T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CallReport:
    """How one call went, whatever it returned.

    Attributes:
        call: Which call it was, for people.
        pid: Its process id; None if its process could not be started.
        started: When the function was entered, in seconds of `time.monotonic`,
            which is one clock for all processes; None if it never was.
        finished: When the function was left, likewise.
        exit_status: Of its process, as in `subprocess.Popen.returncode`; None if
            it is unknown.
        output: What it printed to stdout and stderr, in order; of a long output
            the beginning and the end.
        steps: What it did to what the calls share, in the order in which that
            began; recorded only with `options(record=True)`.
        unrecorded: How many more steps it made than are recorded of a call.
    """

    call: str
    pid: int | None
    started: float | None
    finished: float | None
    exit_status: int | None
    output: str
    steps: tuple[RecordedStep, ...] = ()
    unrecorded: int = 0

    @property
    def duration(self) -> float | None:
        """How long the function ran, in seconds; None if it was not left in order."""
        return None if self.started is None or self.finished is None else self.finished - self.started


class Outcomes(list[T | WrappedError], Generic[T]):
    """One item per call, in the order of the calls: what it returned, or a `WrappedError`.

    `Outcomes[bool]` are those of calls that return a bool.

    Attributes:
        reports: One `CallReport` per call, in the same order.
    """

    def __init__(self, items: Iterable[T | WrappedError] = (), reports: Iterable[CallReport] = ()) -> None:
        super().__init__(items)
        self.reports = list(reports)

    @property
    def values(self) -> list[T]:
        """What was returned, by the calls that returned."""
        return [item for item in self if not isinstance(item, WrappedError)]

    @property
    def errors(self) -> list[WrappedError]:
        """What stands for the calls that did not return."""
        return [item for item in self if isinstance(item, WrappedError)]

    def raise_errors(self) -> None:
        """Raise what the calls raised, if any did.

        Raises:
            BaseExceptionGroup: Of the errors of the calls, an `ExceptionGroup` where
                each is an `Exception`.
        """
        if errors := self.errors:
            raise BaseExceptionGroup(
                f"{len(errors)} of {len(self)} concurrent calls failed", [wrapped.error for wrapped in errors]
            )

    def lanes(self, width: int = 100) -> str:
        """Draw what the calls did side by side on one axis of time, if it was recorded.

        Args:
            width: Of the picture, in characters.
        """
        from .report.timed import timed_lanes

        return timed_lanes(self, self.reports, width)

    def __str__(self) -> str:
        starts = [report.started for report in self.reports if report.started is not None]
        begin = min(starts, default=0.0)
        return "\n".join(_line(item, report, begin) for item, report in zip(self, self.reports, strict=True))


def _line(item: object, report: CallReport, begin: float) -> str:
    if report.started is None:
        times = "never started"
    elif report.finished is None:
        times = f"{_ms(report.started - begin)} -> {describe_exit(report.exit_status)}"
    else:
        times = f"{_ms(report.started - begin)} -> {_ms(report.finished - begin)}"
    text = str(WrappedError(item.error)) if isinstance(item, WrappedError) else repr(item)
    return f"{report.call} [pid {report.pid}, {times}]: {text}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"
