"""The results of an exploration."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn

from .._text import counted
from ..base.trace import call_name
from ..exceptions import AioconcurrentError
from . import replaying, unread
from .unread import Unread

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from ..base.trace import Precedence, Run, Step
    from ..report.page import Story
    from ..report.terminal import Paper
    from .outcomes import Outcomes

_TELLING = frozenset({"counterexample", "exhaustive", "reason", "verdict"})  # whoever asks for one has looked

Verdict = Literal["no race", "race", "inconclusive"]
Effect = Literal["rows", "error", "answers", "rule"]


@dataclass(frozen=True, slots=True)
class Remedy:
    """The result of exploring the calls with one change that may prevent the race, each in one transaction.

    Attributes:
        name: The change, such as "SERIALIZABLE" or "FOR UPDATE at services.py:6".
        prevents: Whether no order goes wrong any more; None if that is not known.
        repeats: Whether the database then refuses a call, so that it has to be repeated.
    """

    name: str
    prevents: bool | None
    repeats: bool = False

    def __str__(self) -> str:
        told = {True: "prevents it", False: "does not prevent it", None: "is left open"}[self.prevents]
        return f"{self.name}: {told}{', but a call fails and has to be repeated' if self.repeats else ''}"


@dataclass(frozen=True, slots=True)
class Lock:
    """The result of exploring safe calls without one of their locks.

    Attributes:
        name: The lock, such as "FOR UPDATE at services.py:6" or "atomic at services.py:4".
        needed: Whether an order goes wrong without it; None if that is not known.
        without: What goes wrong without it, such as "lost update"; or why that is not known.
        counterexample: The order that goes wrong without it.
    """

    name: str
    needed: bool | None
    without: str = ""
    counterexample: Counterexample | None = field(default=None, repr=False)

    def __str__(self) -> str:
        told = {True: "needed, without it: ", False: "not needed", None: "left open: "}[self.needed]
        apart = ", " if self.needed is False and self.without else ""
        return f"{self.name}: {told}{apart}{self.without}"


class Locks(tuple[Lock, ...]):
    """One `Lock` for each lock that the calls take, and one for all that are not needed; `str()` is a table."""

    __slots__ = ()

    def __str__(self) -> str:
        return "\n".join(map(str, self)) or "the calls take no FOR UPDATE, no atomic, and no constraint refuses them"

    def to_json(self) -> str:
        """Return the same as JSON text, for other programs."""
        from ..report.data import as_json

        told = [{"name": each.name, "needed": each.needed, "without": each.without} for each in self]
        return as_json({"locks": told})


@dataclass(frozen=True, repr=False)
class Counterexample:
    """One order of statements that goes wrong; `str()` draws it as lanes, one column per call.

    Attributes:
        token: Replays the order: `replay(token, *calls)`, or `pytest --aioconcurrent-replay TOKEN`.
        outcomes: What the calls returned or raised, as from a race.
        anomaly: The name of the race, such as "lost update".
        explanation: What happened, with the values.
        hint: What may fix it.
        calls: The text of each call, such as "withdraw(account_id=1, amount=80)".
        run: Everything the verdict is based on: outcomes, rows, steps.
        preemptions: How often a call was stopped that could have gone on; no order with fewer goes wrong, unless
            orders were drawn at random.
        marked: The indexes of the steps that the explanation is about.
        read: The index of the step whose read became stale, if a lock there can be tried.
        remedies: What would prevent the race, if `explore` was asked to measure it.
        cycle: Why each of two calls comes before the other, by the indexes of their steps, if that is known.
        serial: The serial orders that were run, each as the numbers of the calls and how they ended.
        effect: What no serial order gives: "rows"; "error", which a call raises, or that one never ends; or "answers",
            where some serial order leaves the same rows.  "rule" if `check` decides.
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
    effect: Effect = "rows"

    def __str__(self) -> str:
        return f"{self.story()}\n\n{self.lanes()}"

    def __repr__(self) -> str:
        return f"<Counterexample {self.token}: {self.anomaly} of {', '.join(self.calls)}>"

    def story(self, replayed_by: str = "") -> str:
        """Return what happened, the hint, and how to replay the order, without the lanes.

        Args:
            replayed_by: The line that replays it; by default the call of `replay`.
        """
        told = replayed_by or f'replay("{self.token}", ...)'
        return "\n".join(
            [
                f"{self.anomaly}: {self.explanation}",
                f"hint: {self.hint}",
                *self.measured,
                f"to run this order alone: {told}",
            ]
        )

    def lanes(self, width: int | None = None, *, unfolded: bool = False) -> str:
        """Draw what the calls did, side by side.

        In a long picture, steps that touch nothing of other calls are folded into one line.

        Args:
            width: The width in characters; by default that of the terminal, or 100 if there is none.
            unfolded: Show all steps.
        """
        from ..report.terminal import Paper

        return self.drawn(Paper.of_output(width), unfolded=unfolded)

    def drawn(self, paper: Paper, *, unfolded: bool = False) -> str:
        """Draw the lanes for this width, encoding and colours."""
        from ..report.lanes import as_text, lanes

        return as_text(lanes(self.run, self.calls, self.marked, unfolded=unfolded), paper)

    def annotation(self) -> str:
        """Return the line of output that GitHub shows as a note at the line of the story's last step."""
        from ..report.data import annotation

        sources = [self.steps[index].source for index in sorted(self.marked, reverse=True)]
        return annotation(self.anomaly, self.explanation, [*filter(None, sources)])

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps, in the order in which they were let go."""
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

    Compare its verdict; its truth value is a TypeError.  If nobody looks at the verdict, an
    `UnreadResultWarning` is given.

    Attributes:
        verdict: "race" if some order goes wrong; "no race" if none of those that were run does;
            "inconclusive" if nothing can be said.
        reason: The reason for the verdict, in a sentence.
        exhaustive: Whether every order that can matter was run.
        schedules_run: How many runs of the calls were made, including those for comparison.
        calls: The text of each call.
        counterexample: The order that goes wrong, if one was found.
        notes: What else the user should know.
        preemptions: Orders with more preemptions were left out, because of a limit or because the budget was spent;
            None if no order was left out.
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

    def locks(self) -> Locks:
        """Find out which locks keep safe calls safe, by taking away one at a time.

        The calls are explored again without each FOR UPDATE, then without each `atomic` block, and finally without
        all locks that are not needed by themselves.  The rows have to be as they were for `explore`.  After
        `await aioconcurrent.explore(...)`, this has to be awaited, too.

        Returns:
            One `Lock` for each lock.

        Raises:
            ValueError: The calls are not safe, or this is not what `explore` has returned.
        """
        return self._taken_away()  # type: ignore[no-any-return]

    def _taken_away(self) -> Any:
        self._unread.look()
        take_away = vars(self).get("_take_away")
        if take_away is None:
            raise ValueError("locks() works on what explore() has returned, and on nothing else.")
        return take_away()

    def asked_by(self, take_away: Callable[[], Any]) -> Self:
        """Let it know how to take locks away, and return it."""
        vars(self)["_take_away"] = take_away
        return self

    def assert_no_race(self, *, preemptions: int = 0) -> None:
        """Raise if there is a race, or if nothing can be said.

        Code of real size has more orders than a budget allows.  When the budget ends, the verdict is "no race" if all
        orders with up to one preemption were run, in which one call is stopped once.

        Args:
            preemptions: Also raise unless all orders with up to this many preemptions were run.

        Raises:
            RaceFound: The verdict is "race".
            InconclusiveError: The verdict is "inconclusive", or holds for fewer preemptions.
        """
        __tracebackhide__ = True  # pytest shows the test, not this
        if self.verdict == "race":
            _annotate(self)
            raise RaceFound(self, _page_of(self))
        fewer = self.preemptions is not None and self.preemptions < preemptions
        if self.verdict == "inconclusive" or fewer:
            raise InconclusiveError(self)

    def to_json(self) -> str:
        """Return the same as JSON text, for other programs; secrets are shown as stars.

        Calls are called "A", "B" and so on, and steps are counted from 1, as in the lanes.
        """
        from ..report.data import as_json, ending_data, run_data

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
                "effect": found.effect,
                "explanation": found.explanation,
                "hint": found.hint,
                "remedies": [*map(asdict, found.remedies)],
                "token": found.token,
                "preemptions": found.preemptions,
                **run_data(found.run, found.calls, found.marked),
                "serial_orders": [
                    {"order": [*map(call_name, order)], **ending_data(end, found.calls)} for order, end in found.serial
                ],
            },
        }
        return as_json(told)

    def __getstate__(self) -> dict[str, Any]:
        """Without the calls and all that they need, which may not travel."""
        return {name: value for name, value in vars(self).items() if name != "_take_away"}

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
        return f"<Exploration of {', '.join(self.calls)}: {vars(self)['verdict']} ({vars(self)['reason']})>"

    def __str__(self) -> str:
        lanes = [self.counterexample.lanes()] if self.counterexample is not None else []
        return "\n\n".join([self.told(), *lanes])

    def told(self, replayed_by: str = "") -> str:
        """Return the verdict, the story and the notes, without the lanes.

        Args:
            replayed_by: As for `Counterexample.story`.
        """
        parts = [self.headline]
        if self.counterexample is not None:
            parts.append(self.counterexample.story(replayed_by))
        return "\n\n".join([*parts, *(f"note: {note}" for note in self.notes)])

    @property
    def headline(self) -> str:
        """The verdict and the reason, on one line."""
        runs = f"{counted(self.schedules_run, 'schedule')} run"
        return f"{self.verdict} ({runs}{', exhaustive' if self.exhaustive else ''}): {self.reason}"


class AwaitedExploration(Exploration):
    """An exploration whose `locks()` is awaited."""

    @classmethod
    def of(cls, found: Exploration) -> AwaitedExploration:
        """Make one of a plain exploration."""
        return cls(**{each.name: getattr(found, each.name) for each in fields(found)})

    async def locks(self) -> Locks:  # type: ignore[override]  # it is awaited, as all is where it comes from
        """Find out which locks keep safe calls safe, as `Exploration.locks` does."""
        return await self._taken_away()  # type: ignore[no-any-return]


def story_of_exploration(exploration: Exploration, title: str, test_id: str = "") -> Story:
    """What a page tells of it: the counterexample, or, without one, the verdict alone."""
    from ..base.trace import Run
    from ..report.page import Story

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


def _annotate(exploration: Exploration) -> None:
    """Let GitHub know of a race where no plugin does."""
    wanted = os.environ.get("GITHUB_ACTIONS") == "true" and not unread.is_kept()
    if exploration.counterexample is not None and wanted:
        print(exploration.counterexample.annotation())


def _page_of(exploration: Exploration) -> str:
    """Write a page where the environment asks for it and no plugin does; return its path, or why there is none."""
    folder = os.environ.get("AIOCONCURRENT_REPORT")
    if not folder or unread.is_kept():
        return ""
    from ..report.page import write_page

    title = replaying.test_of_django(sys._getframe(1)) or " and ".join(exploration.calls)
    try:
        return str(write_page(story_of_exploration(exploration, title), Path(folder), exploration.to_json()))
    except OSError as error:
        return f"none could be written: {error}"


def _told(text: str, _: object) -> str:  # which travels with the exploration, as a function of a function would not
    return text


def _unread_text(exploration: Exploration) -> str:
    calls = ", ".join(exploration.calls)
    return (
        f"explore({calls}) asserts nothing by itself. Write explore(...).assert_no_race(), or compare the result: "
        'assert explore(...).verdict == "no race".'
    )


class ExplorationError(AioconcurrentError, AssertionError):
    """An assertion about an exploration does not hold; the text says what is known.

    Attributes:
        exploration: The whole result.
        page: Where the page about it is, if one was written.
        replayed_by: The line that replays the order, if it is known what has run the test.
        is_drawn: Whether the test runner shows the lanes; if not, the text has them.
    """

    def __init__(self, exploration: Exploration, page: str = "") -> None:
        super().__init__(exploration, page)
        self.exploration, self.page = exploration, page
        self.is_drawn = unread.is_kept()
        found = exploration.counterexample
        self.replayed_by = "" if found is None else replaying.replay_line(found.token)

    def __str__(self) -> str:
        found = self.exploration.counterexample
        told = self.exploration.told(self.replayed_by)
        told += f"\n\npage: {self.page}" if self.page else ""
        return told if self.is_drawn or found is None else f"{told}\n\n{found.lanes()}"


class RaceFound(ExplorationError):  # noqa: N818 - an assertion that failed, named for what it says
    """An exploration has found a race."""


class InconclusiveError(ExplorationError):
    """An exploration could not tell whether there is a race."""


for _error in (ExplorationError, RaceFound, InconclusiveError):
    _error.__module__ = "aioconcurrent"  # where it is imported from, which tracebacks and summaries of tests name
