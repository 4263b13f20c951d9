"""All there is to tell about one run, whatever tells it: a page or a terminal."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .._hidden import hidden_texts
from ..exploring.secrets import Secrets
from ..exploring.trace import Ending, TracedStep, call_name

if TYPE_CHECKING:
    from ..exploring.exploration import Exploration

Recorded = tuple[TracedStep, float, float | None]
"""A step of a plain race, when it began and when it ended, in seconds of one clock; None: it was still running."""


@dataclass(frozen=True, kw_only=True)
class Story:
    """One run and what is to be said about it.

    Attributes:
        title: What was run, for people; the name of the test where there is one.
        calls: The text of each call, as "withdraw(account_id=1, amount=80)".
        ending: Of the run.
        verdict: "race", "no race" or "inconclusive"; empty where nothing was judged.
        reason: What the verdict rests on.
        notes: What else the user should know.
        marked: The indexes of the steps that the explanation is about.
        anomaly: The name of the race, as "lost update".
        explanation: What happened, in a sentence or two.
        hint: What may help.
        token: Of the schedule.
        test_id: As pytest has it, "tests/test_bank.py::test_withdraw".
        outputs: What each call printed.
        times: When each step began and ended, in seconds of one clock, if that was recorded.
    """

    title: str
    calls: Sequence[str]
    ending: Ending
    verdict: str = ""
    reason: str = ""
    notes: Sequence[str] = ()
    marked: Collection[int] = frozenset()
    anomaly: str = ""
    explanation: str = ""
    hint: str = ""
    token: str = ""
    test_id: str = ""
    outputs: Sequence[str] = ()
    times: Sequence[tuple[float, float | None]] = ()

    @classmethod
    def of_exploration(cls, exploration: Exploration, title: str, test_id: str = "") -> Story:
        """Tell what exploring has found: the counterexample, or, without one, the verdict alone."""
        judged = cls(
            title=title,
            test_id=test_id,
            calls=exploration.calls,
            ending=Ending((), {}),
            verdict=exploration.verdict,
            reason=exploration.reason,
            notes=exploration.notes,
        )
        found = exploration.counterexample
        if found is None:
            return judged
        return replace(
            judged,
            calls=found.calls,
            ending=found.ending,
            marked=found.marked,
            anomaly=found.anomaly,
            explanation=found.explanation,
            hint=" ".join(
                [found.hint, *(line.strip() + ("" if line.endswith(":") else ".") for line in found.measured)]
            ),
            token=found.token,
            outputs=tuple(report.output for report in found.outcomes.reports),
        )

    @classmethod
    def of_race(
        cls, title: str, calls: Sequence[str], outcomes: Iterable[Any], recorded: Iterable[Recorded], **more: Any
    ) -> Story:
        """Tell a plain race from the steps that its calls recorded, given in any order.

        Args:
            title: What was run.
            calls: The text of each call.
            outcomes: What each call returned or raised.
            recorded: Each step with its beginning and its end; `resumed_after` counts in the order given here.
            **more: Other attributes.
        """
        given = list(recorded)
        order = sorted(range(len(given)), key=lambda index: given[index][1])
        place = {index: number for number, index in enumerate(order)}
        steps = []
        for index in order:
            step = given[index][0]
            after = step.resumed_after
            steps.append(step if after is None else replace(step, resumed_after=place[after]))
        times = tuple(given[index][1:] for index in order)
        ending = Secrets(steps, hidden_texts()).ending(Ending(tuple(outcomes), {}, tuple(steps)))
        return cls(title=title, calls=calls, ending=ending, times=times, **more)

    @property
    def replay_lines(self) -> tuple[str, ...]:
        """What to paste to run the schedule again: for a shell, and for a test; nothing without a token."""
        if not self.token:
            return ()
        test = [shlex.quote(self.test_id)] if self.test_id else []
        command = " ".join(["pytest", *test, "--aioconcurrent-replay", shlex.quote(self.token)])
        return command, f'replay("{self.token}", ...)'

    @property
    def letters(self) -> list[str]:
        """What the calls are called."""
        return [call_name(call) for call in range(len(self.calls))]

    @cached_property
    def set_free(self) -> dict[int, list[int]]:
        """For each step that ended waits, the indexes of the steps that went on."""
        found: dict[int, list[int]] = {}
        for index, step in enumerate(self.ending.steps):
            if step.resumed_after is not None:
                found.setdefault(step.resumed_after, []).append(index)
        return found

    @cached_property
    def begin(self) -> float:
        """When the first step began."""
        return min((started for started, _ in self.times), default=0.0)
