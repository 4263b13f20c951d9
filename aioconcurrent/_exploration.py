"""What comes back from exploring."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal, NoReturn

from ._text import counted
from ._trace import call_name
from ._unread import Unread
from .exceptions import AioconcurrentError

if TYPE_CHECKING:
    from ._outcomes import Outcomes
    from ._trace import Precedence, Run, Step
    from .report.page import Story

_TELLING = frozenset({"counterexample", "exhaustive", "reason", "verdict"})  # whoever asks for one has looked

Verdict = Literal["no race", "race", "inconclusive"]


@dataclass(frozen=True, slots=True)
class Remedy:
    """What came of the calls in one transaction each, with one more change.

    Attributes:
        name: Of the change, as "SERIALIZABLE" or "FOR UPDATE at services.py:6".
        prevents: Whether no order goes wrong any more; None if that could not be found out.
        repeats: Whether the database then refuses a call, so that it has to be repeated.
    """

    name: str
    prevents: bool | None
    repeats: bool = False

    def __str__(self) -> str:
        told = {True: "prevents it", False: "does not prevent it", None: "is left open"}[self.prevents]
        return f"{self.name}: {told}{', but a call fails and has to be repeated' if self.repeats else ''}"


@dataclass(frozen=True)
class Counterexample:
    """One order of statements that goes wrong; `str()` draws it as lanes, one column per call.

    Attributes:
        token: Replays it: `replay(token, *calls)`, or `pytest --aioconcurrent-replay TOKEN`.
        outcomes: What the calls returned or raised, as from a race.
        anomaly: Its name, such as "lost update".
        explanation: What happened, with the values.
        hint: What may help.
        calls: The text of each call, as "withdraw(account_id=1, amount=80)".
        run: All that the verdict was reached from: outcomes, rows, steps.
        preemptions: How often a call was stopped that could have gone on; no order with fewer goes wrong.
        marked: The indexes of the steps that the explanation is about.
        read: The index of the step that read what was no longer so, if a lock there can be tried.
        remedies: What would prevent the race, where that was to be measured.
        cycle: Why each of two calls comes before the other, by the indexes of their steps, if that can be told.
        serial: The serial orders that were run, each as the numbers of the calls and how they ended.
    """

    token: str
    outcomes: Outcomes
    anomaly: str
    explanation: str
    hint: str
    calls: tuple[str, ...]
    run: Run
    preemptions: int = 0
    marked: frozenset[int] = frozenset()
    read: int | None = None
    remedies: tuple[Remedy, ...] = ()
    cycle: tuple[Precedence, ...] = ()
    serial: tuple[tuple[tuple[int, ...], Run], ...] = ()

    def __str__(self) -> str:
        advice = "\n".join([f"hint: {self.hint}", *self.measured])
        return f"{self.anomaly}: {self.explanation}\n\n{self.lanes()}\n\n{advice}\nreplay: {self.token}"

    def lanes(self, width: int = 100, *, unfolded: bool = False) -> str:
        """Draw what the calls did, side by side.

        In a long picture, steps that touch nothing of other calls are folded into one line.

        Args:
            width: Of the picture, in characters.
            unfolded: Whether to fold nothing.
        """
        from .report.lanes import as_text, lanes

        return as_text(lanes(self.run, self.calls, self.marked, unfolded=unfolded), width)

    @property
    def steps(self) -> tuple[Step, ...]:
        """What was done, in the order in which it was let go."""
        return self.run.steps

    @property
    def measured(self) -> tuple[str, ...]:
        """What would prevent the race, as lines of a table."""
        if not self.remedies:
            return ()
        return "measured, with each call in one transaction:", *(f"  {each}" for each in self.remedies)


@dataclass(frozen=True, repr=False)
class Exploration:
    """The verdict on some calls.

    It is neither true nor false: compare its verdict.  An `UnreadResultWarning` is given if
    nobody looks at the verdict.

    Attributes:
        verdict: "race" if some order goes wrong; "no race" if none does, of all that were run;
            "inconclusive" if nothing can be said.
        reason: Why, in a sentence.
        exhaustive: Whether every order that can matter was run.
        schedules_run: How many runs of the calls were made, those for comparison included.
        calls: The text of each call.
        counterexample: The order that goes wrong, if one was found.
        notes: What else the user should know.
        preemptions: Orders with more are left out, because of a limit or because the budget was spent; None if none
            was left out for that.
    """

    verdict: Verdict
    reason: str
    exhaustive: bool
    schedules_run: int
    calls: tuple[str, ...]
    counterexample: Counterexample | None = None
    notes: tuple[str, ...] = ()
    preemptions: int | None = None

    _unread: ClassVar[Unread] = Unread()

    def assert_no_race(self, *, preemptions: int = 0) -> None:
        """Raise if there is a race, or if nothing can be said.

        Code of real size has more orders than a budget allows.  When the budget ends, "no race" is said if all
        orders with up to one preemption were run, which takes a call to be stopped once.

        Args:
            preemptions: Raise, too, unless all orders with up to so many preemptions were run.

        Raises:
            RaceFound: The verdict is "race".
            InconclusiveError: The verdict is "inconclusive", or holds for fewer preemptions.
        """
        __tracebackhide__ = True  # pytest shows the test, not this
        if self.verdict == "race":
            raise RaceFound(self)
        fewer = self.preemptions is not None and self.preemptions < preemptions
        if self.verdict == "inconclusive" or fewer:
            raise InconclusiveError(self)

    def to_json(self) -> str:
        """Return the same as a text in JSON, for other programs; what is secret is stars in it.

        Calls are called "A", "B" and so on, and steps are counted from 1, as in the lanes.
        """
        from .report.data import as_json, ending_data, run_data

        found = self.counterexample
        told = {
            "verdict": self.verdict,
            "reason": self.reason,
            "notes": [*self.notes],
            "exhaustive": self.exhaustive,
            "schedules_run": self.schedules_run,
            "preemptions": self.preemptions,
            "calls": [*self.calls],
            "counterexample": found
            and {
                "anomaly": found.anomaly,
                "explanation": found.explanation,
                "hint": found.hint,
                "remedies": [
                    {"name": each.name, "prevents": each.prevents, "repeats": each.repeats} for each in found.remedies
                ],
                "token": found.token,
                "preemptions": found.preemptions,
                **run_data(found.run, found.calls, found.marked),
                "serial_orders": [
                    {"order": [*map(call_name, order)], **ending_data(end, found.calls)} for order, end in found.serial
                ],
            },
        }
        return as_json(told)

    def _watch(self) -> Unread:
        text = f"Nobody has looked at the verdict, {self.verdict!r}: {_unread_text(self)}"
        unread = Unread([0], partial(_told, text))
        vars(self)["_unread"] = unread
        return unread

    if not TYPE_CHECKING:  # or misspelt attributes would have a type

        def __getattribute__(self, name: str) -> object:
            if name in _TELLING:
                object.__getattribute__(self, "_unread").look()
            return object.__getattribute__(self, name)

    def __bool__(self) -> NoReturn:
        self._unread.look()
        raise TypeError(f"An exploration is neither true nor false: {_unread_text(self)}")

    def __repr__(self) -> str:
        return f"<Exploration of {', '.join(self.calls)}: {vars(self)['verdict']}>"

    def __str__(self) -> str:
        runs = f"{counted(self.schedules_run, 'schedule')} run"
        parts = [f"{self.verdict} ({runs}{', exhaustive' if self.exhaustive else ''}): {self.reason}"]
        if self.counterexample is not None:
            parts.append(str(self.counterexample))
        return "\n\n".join([*parts, *(f"note: {note}" for note in self.notes)])


def story_of_exploration(exploration: Exploration, title: str, test_id: str = "") -> Story:
    """What a page tells of it: the counterexample, or, without one, the verdict alone."""
    from ._trace import Run
    from .report.page import Story

    judged = Story(
        title=title,
        test_id=test_id,
        calls=exploration.calls,
        run=Run(),
        verdict=exploration.verdict,
        reason=exploration.reason,
        notes=exploration.notes,
    )
    found = exploration.counterexample
    if found is None:
        return judged
    measured = (line.strip() + ("" if line.endswith(":") else ".") for line in found.measured)
    return replace(
        judged,
        calls=found.calls,
        run=found.run,
        marked=found.marked,
        cycle=found.cycle,
        serial=found.serial,
        anomaly=found.anomaly,
        explanation=found.explanation,
        hint=" ".join([found.hint, *measured]),
        token=found.token,
        outputs=tuple(report.output for report in found.outcomes.reports),
    )


def _told(text: str, _: object) -> str:
    return text


def _unread_text(exploration: Exploration) -> str:
    calls = ", ".join(exploration.calls)
    return (
        f"explore({calls}) asserts nothing by itself. Write explore(...).assert_no_race(), or compare the result: "
        'assert explore(...).verdict == "no race".'
    )


class ExplorationError(AioconcurrentError, AssertionError):
    """What was asserted of some calls does not hold; the text tells all that is known.

    Attributes:
        exploration: The whole result.
    """

    def __init__(self, exploration: Exploration) -> None:
        super().__init__(exploration)
        self.exploration = exploration

    def __str__(self) -> str:
        return str(self.exploration)


class RaceFound(ExplorationError):  # noqa: N818 - an assertion that failed, named for what it says
    """Exploring has found a race."""

    def __str__(self) -> str:
        counterexample = self.exploration.counterexample
        text = str(self.exploration)
        return f'{text}\n\nTo run this order alone: replay("{counterexample.token}", ...)' if counterexample else text


class InconclusiveError(ExplorationError):
    """Exploring could not tell whether there is a race."""
