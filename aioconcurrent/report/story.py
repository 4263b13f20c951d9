"""All there is to tell about one run, whatever tells it: a page or a terminal."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .._hidden import hidden_texts
from .._trace import Run, Step, call_name
from ..exploring.secrets import Secrets

if TYPE_CHECKING:
    from ..exploring.exploration import Exploration


@dataclass(frozen=True, kw_only=True)
class Story:
    """One run and what is to be said about it.

    Attributes:
        title: What was run, for people; the name of the test where there is one.
        calls: The text of each call, as "withdraw(account_id=1, amount=80)".
        run: What they did.
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
    """

    title: str
    calls: Sequence[str]
    run: Run
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

    @classmethod
    def of_exploration(cls, exploration: Exploration, title: str, test_id: str = "") -> Story:
        """Tell what exploring has found: the counterexample, or, without one, the verdict alone."""
        judged = cls(
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
        return replace(
            judged,
            calls=found.calls,
            run=found.run,
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
        cls, title: str, calls: Sequence[str], outcomes: Iterable[Any], steps: Sequence[Step], **more: Any
    ) -> Story:
        """Tell a plain race from the steps that its calls recorded, as `interleaved` has them.

        Args:
            title: What was run.
            calls: The text of each call.
            outcomes: What each call returned or raised.
            **more: Other attributes.
        """
        run = Secrets(steps, hidden_texts()).run(Run(tuple(outcomes), {}, tuple(steps)))
        return cls(title=title, calls=calls, run=run, **more)

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
        for index, step in enumerate(self.run.steps):
            if step.resumed_after is not None:
                found.setdefault(step.resumed_after, []).append(index)
        return found

    @cached_property
    def begin(self) -> float:
        """When the first step began."""
        return min((step.started for step in self.run.steps), default=0.0)
