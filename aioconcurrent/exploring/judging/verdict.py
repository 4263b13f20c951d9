"""The verdict on all runs, its reason, and the notes to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..._text import counted, text_of
from ...base.trace import Run, call_name
from ...exceptions import WrappedError
from ...results.exploration import Counterexample, Exploration
from ...sql.secrets import Secrets
from ..orders.search import Omission

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from ...base.trace import Step
    from ..orders.search import Search
    from .oracle import Oracle

ALONE = "even with the calls"  # how notes begin that tell what calls raise while they meet nobody


@dataclass
class Account:
    """What there is to say of one exploration.

    Attributes:
        calls: The text of each, without secrets.
        has_rule: Whether the caller's rule decides.
        bound: Orders with more preemptions are left out; None for no limit.
        hidden: Texts that are secret wherever they stand.
        made: Runs that were made.
        met: Some call changed what another touched.
        uncompared: An ending was not compared with all serial orders.
        answers: Of the calls in the first run.
        problems: Why runs were given up, or prove nothing, a sentence each.
        notes: What people should know, in the order in which it came up.
        unseen: What could not be seen, a sentence each: with any, "no race" is not said of all that can happen.
    """

    calls: tuple[str, ...]
    has_rule: bool
    bound: int | None
    hidden: Collection[str] = ()
    made: int = 0
    met: bool = False
    uncompared: bool = False
    answers: str = ""
    problems: list[str] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    unseen: set[str] = field(default_factory=set)

    @property
    def everyone(self) -> tuple[int, ...]:
        """The numbers of all calls."""
        return tuple(range(len(self.calls)))

    def secrets(self, steps: Sequence[Step] = ()) -> Secrets:
        """What must not be shown, of a run with these steps."""
        return Secrets(steps, self.hidden)

    def note(self, sentence: str) -> None:
        """Let people know of something."""
        self.notes[sentence] = None

    def note_errors(self, ending: Run, refusals: tuple[type[BaseException], ...]) -> None:
        """Take note of what calls raise while they meet nobody: then little of them is explored."""
        for call, outcome in enumerate(ending.outcomes):
            error = outcome.error if isinstance(outcome, WrappedError) else None
            if error is not None and not isinstance(error, refusals):
                told = f"{type(error).__name__}: {text_of(error)}".strip(": ")
                self.note(f"{ALONE} one after another {call_name(call)} raises {told}")

    def race(self, example: Counterexample) -> Exploration:
        """The verdict when an order goes wrong."""
        reason = f"{example.anomaly}, with {counted(example.preemptions, 'preemption')}"
        if len(example.calls) < len(self.calls):
            reason += f"; {len(example.calls)} of the {len(self.calls)} calls are enough"
        return Exploration("race", reason, False, self.made, self.calls, example, tuple(self.notes))

    def inconclusive(self, reason: str) -> Exploration:
        """The verdict when nothing can be said."""
        reason = "; ".join(filter(None, [reason, self.answers]))
        return Exploration("inconclusive", reason, False, self.made, self.calls, None, tuple(self.notes))

    def spent(self, search: Search | None, budget: str) -> Exploration:
        """The verdict when the budget ends before all orders with one preemption were run."""
        parts = [f"{budget} is spent; no schedule so far goes wrong", *self.problems[:1]]
        if search is not None and search.preemptions and not self.problems:
            parts[0] += f": {_covered(search)}"
        return self.inconclusive("; ".join(parts))

    def kept_alone(self) -> Exploration:
        """The verdict when one order was run alone, and does not go wrong."""
        reason = "the rule holds in this order" if self.has_rule else "this order ends as a serial one does"
        return Exploration("no race", f"{reason}; no other was run", False, self.made, self.calls, preemptions=0)

    def nothing_wrong(self, search: Search, oracles: Iterable[Oracle], budget: str = "") -> Exploration:
        """The verdict when nothing went wrong, and the search has come to its end or to that of its budget."""
        oracles = list(oracles)
        if reason := self._doubt(search, oracles, is_cut=bool(budget)):
            return self.inconclusive(reason)
        if Omission.DISORDER in search.omissions:
            self.unseen.add(Omission.DISORDER.value)
        unseen = sorted(self.unseen)
        if len(self.calls) == 1:
            alone = "there is only one call, and it enqueues no task, so nothing can happen at the same time"
            return self.inconclusive("; ".join([alone, *unseen]))
        if not self.met:
            nothing = (
                "nothing overlapped: no data was touched by two calls and changed by one of them, so that their order "
                "cannot matter"
            )
            return self.inconclusive("; ".join([nothing, *unseen]))
        self.notes |= dict.fromkeys(note for oracle in oracles for note in oracle.notes())
        fate = "keeps the rule" if self.has_rule else "ends as a serial one does"
        reason = f"every order that {'was run' if unseen else 'can matter'} {fate}"
        bound = None
        if Omission.BOUND in search.omissions:
            bound = self.bound
            reason = f"no order with up to {counted(bound or 0, 'preemption')} goes wrong"
        if budget:
            bound = search.completed
            reason = (
                f"no order with up to {counted(bound, 'preemption')} goes wrong ({search.completed_runs} orders); "
                f"{budget} ended among those with {bound + 1}"
            )
            if search.drawn_runs:
                reason += f"; {counted(search.drawn_runs, 'order')} drawn at random did not go wrong either"
        if unseen:
            reason += f", but not everything could be seen: {'; '.join(unseen)}"
        exhaustive = search.exhaustive and not unseen
        return Exploration("no race", reason, exhaustive, self.made, self.calls, None, tuple(self.notes), bound)

    def _doubt(self, search: Search, oracles: list[Oracle], *, is_cut: bool) -> str:
        """Why nothing can be said, although nothing went wrong; empty if something can."""
        if self.problems:
            return self.problems[0]
        if search.divergences:
            return str(search.divergences[0])
        if self.uncompared:
            return self.too_many
        if any(oracle.unsteady for oracle in oracles):
            return "the calls, one after another, do not end the same way twice"
        cut = {Omission.CUT} if is_cut else set[Omission]()  # no run was, when the bound was completed
        return "; ".join(each.value for each in search.omissions - {Omission.BOUND, Omission.DISORDER} - cut)

    @property
    def too_many(self) -> str:
        """Say that an ending would have had to be compared with more serial orders than can be run."""
        return f"an ending could not be compared with all serial orders: {len(self.calls)} calls have too many"


def _covered(search: Search) -> str:
    """Which orders were run, of about how many, and what those that were drawn would have met."""
    bound, parts = search.completed, list[str]()
    if bound >= 0:
        parts.append(f"all with up to {counted(bound, 'preemption')}" if bound else "all with no preemption")
    within = f"up to {search.preemptions}" if bound < 0 else f"{bound + 1}"
    parts.append(f"{search.runs_since} of {search.runs_since + search.left()} or more with {within}")
    if not search.drawn_runs:
        return f"of the orders, {' and '.join(parts)} were run"
    race = "a race that takes that two steps are put off as long as other calls can go on"
    return (
        f"of the orders, {', '.join(parts)} and {search.drawn_runs} drawn at random were run; "
        f"{race if search.has_waited else 'a race of depth 2'} would have been met with a probability of "
        f"{search.chance:.0%} or more"
    )
