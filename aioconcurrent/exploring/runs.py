"""The runs of an exploration: made one after another within its limits, and what is learnt from each."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio

from ..base.points import UNFOLLOWED
from ..base.trace import LockSite, Step
from ..exceptions import TaskResultError, chain_of, error_of
from .orders.footprint import filled, overlap
from .orders.schedule import STEPS, Departure, Replay, Schedule, Serial
from .orders.search import WAKINGS
from .stepping.controller import OVERTIME, UNENDED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .judging.evidence import Order
    from .judging.judge import Seen
    from .judging.verdict import Account
    from .stepping.controller import Attempt, Chooser
    from .stepping.maker import Made, Referee
    from .stepping.places import Places
    from .stepping.same_processes import Reuse

# unique, foreign key, check and exclusion, as PostgreSQL, MariaDB and SQLite tell of them
_REFUSED = re.compile(
    r"IntegrityError: .*?(?:constraint failed: |(?:constraint|for key) [\"'`])(?P<name>[\w., ]+)",
    re.DOTALL | re.IGNORECASE,
)
_PROBLEMS = 3  # runs that may be given up before nothing more is tried


class AgainError(Exception):
    """All has to be begun anew, with this database open, if any, and with what was learnt of the statements.

    Attributes:
        enqueuers: Calls that enqueue a task which nobody makes yet, once for each.
    """

    def __init__(self, *databases: str, enqueuers: Sequence[int] = ()) -> None:
        super().__init__(*databases)
        self.enqueuers = enqueuers


class StopError(Exception):
    """Nothing more can be learnt; the argument says why."""


class SpentError(StopError):
    """The budget, which the argument names, is spent."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far an exploration goes.

    Attributes:
        max_schedules: Runs that may be made.
        max_seconds: For all of it.
        preemptions: Orders with more are left out; None for no limit.
        is_sampling: Orders are drawn at random as soon as the serial ones were run, unless preemptions are limited.
        seed: Of those that are drawn.
    """

    max_schedules: int
    max_seconds: float
    preemptions: int | None
    is_sampling: bool = False
    seed: int = 0


@dataclass
class Runs:
    """The runs of one exploration.

    Attributes:
        progress: Is told how many were made.
        name: Is told the text of a call that makes a task, by its number, once it is known.
        queues: Patterns of the names of tables that hold work for others.
        refused: What calls have refused by.
        locks: That calls took, where it is noted, and what has refused rows.
    """

    places: Places
    referee: Referee
    limits: Limits
    account: Account
    reuse: Reuse
    progress: Callable[[int], None]
    name: Callable[[int, str], None]
    queues: Sequence[str]
    refused: set[type[BaseException]] = field(default_factory=set)
    locks: set[LockSite] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.databases, self._maker = self.places.databases, self.places.maker

    async def perform(
        self,
        chooser: Chooser,
        made: tuple[int, ...],
        among: tuple[int, ...] | None = None,
        *,
        ask_rule: bool = False,
        limit: int = STEPS,
    ) -> Seen | None:
        """Make one run and put everything back; None if it was given up.

        Args:
            made: The calls that are made.
            among: Those by which its ending counts them, if not these.
            ask_rule: Whether the caller's rule is asked, if there is one.
            limit: How many steps it may have.
        """
        return self.take_in(await self._make(chooser, made, among or made, ask_rule=ask_rule, limit=limit))

    async def make(self, chooser: Chooser) -> Made:
        """Make one run of all calls, to be taken in later, and put everything back."""
        everyone = self.account.everyone
        return await self._make(chooser, everyone, everyone, ask_rule=True)

    async def _make(self, *args: Any, **options: Any) -> Made:
        self.check_limits()
        return await self.places.make_at_home(*args, **options)

    async def perform_serially(self, calls: tuple[int, ...], order: Order, draw: int = 0) -> Seen:
        """Make some of the calls, numbered among `calls`, one after another."""
        serial = Serial(tuple(calls[index] for index in order), draw)
        seen = await self.perform(serial, tuple(calls[index] for index in sorted(order)), calls)
        if seen is None or seen.is_endless:
            problem = UNENDED if seen is not None else self.account.problems[-1]
            if problem.startswith(OVERTIME):
                raise SpentError(self._seconds)
            raise StopError(f"the calls cannot be made one after another: {problem}")
        return seen

    async def follow(
        self, schedule: Schedule, calls: tuple[int, ...], limit: int = STEPS
    ) -> tuple[Seen | None, Departure | None]:
        """Run an order, again and again while calls are not woken in the order in which they came to wait."""
        for _ in range(WAKINGS):
            replay = Replay(schedule)
            seen = await self.perform(replay, calls, ask_rule=calls == self.account.everyone, limit=limit)
            if not replay.is_disordered:
                break
        return seen, replay.departure

    def take_in(self, made: Made) -> Seen | None:
        """Learn from a run whose turn has come.

        Raises:
            AgainError: What it shows changes how runs are made.
            StopError: A call waits for what nobody sends.
        """
        attempt = made.attempt
        self.reuse.take_in(made)
        if attempt.is_void:
            raise AgainError(*filter(None, [attempt.unknown]), enqueuers=attempt.unattended)
        self._name(attempt.tasks)
        self._note(made)
        self.progress(self.account.made)
        self._note_unseen(attempt)
        if self._learn(made):
            raise AgainError
        for outcome in made.seen.ending.outcomes if made.seen is not None else ():
            for error in chain_of(error_of(outcome)):
                if isinstance(error, TaskResultError):
                    raise StopError(str(error))
        return made.seen

    def _name(self, tasks: Mapping[int, str]) -> None:
        """Take note of what the tasks are that were enqueued in a run."""
        texts = list(self.account.calls)
        for number, told in tasks.items():
            texts[number] = self.account.secrets().text(told)
            self.name(number, texts[number])
        self.account.calls = tuple(texts)

    def _note(self, made: Made) -> None:
        """Take note of what there is to say of a run, whatever comes of it."""
        account, attempt = self.account, made.attempt
        account.made += 1
        account.problems += made.problems
        account.notes |= dict.fromkeys([*sorted(attempt.unshared), *made.remarks])
        self._maker.strange |= made.strange
        self.refused |= made.refused
        self.locks |= attempt.locks | constraints_met(attempt.steps)

    def _note_unseen(self, attempt: Attempt) -> None:
        """Take note of whether the calls of a run met, and of what could not be seen of them."""
        account, catalogue, moments = self.account, self.databases.catalogue, self.databases.moments
        steps = [(step.call, step.operation) for step in attempt.steps]
        account.met = account.met or overlap(steps, catalogue)
        unseen = set(attempt.unseen)
        for _, operation in steps:
            unseen.update(filled(operation, catalogue, self.queues))
            account.unseen |= moments.unseen(operation, catalogue)
        account.unseen |= unseen | moments.unseen_between(steps, catalogue)
        account.notes |= dict.fromkeys(sorted(told for told in unseen if told.startswith(UNFOLLOWED)))

    def _learn(self, made: Made) -> bool:
        """Learn from the statements of a run; whether that changes how runs are made."""
        attempt, catalogue = made.attempt, self.databases.catalogue
        operations = [step.operation for step in attempt.steps]
        is_new = self.places.tell_all(lambda each: each.moments.learn(operations, catalogue))
        if is_new or made.has_moved:
            return True
        return self.places.tell_all(lambda each: each.blur(attempt.steps, before=attempt.prelude))

    def check_limits(self) -> None:
        """See whether one more run may be made.

        Raises:
            StopError: It may not.
        """
        if self._maker.strange:
            raise StopError(self.account.problems[-1])
        if len(self.account.problems) >= _PROBLEMS:
            raise StopError(self.account.problems[0])
        if self.account.made >= self.limits.max_schedules:
            raise SpentError(f"the budget of {self.limits.max_schedules} schedules")
        if anyio.current_time() >= self._maker.deadline:
            raise SpentError(self._seconds)

    @property
    def _seconds(self) -> str:
        return f"the budget of {self.limits.max_seconds:g} s"

    def left(self) -> float:
        """The share of the budget that is left."""
        schedules = 1 - self.account.made / self.limits.max_schedules
        return min(schedules, (self._maker.deadline - anyio.current_time()) / self.limits.max_seconds)

    def affordable(self) -> float:
        """How many runs can still be made, at the pace so far."""
        left, made = self._maker.deadline - anyio.current_time(), self.account.made
        pace = made / max(self.limits.max_seconds - left, 0.001)
        return min(self.limits.max_schedules - made, pace * left)


def constraints_met(steps: Iterable[Step]) -> set[LockSite]:
    """The constraints that have refused what steps have written, by what the databases call them."""
    refused = [(step, match) for step in steps if (match := _REFUSED.search(step.error or ""))]
    return {LockSite("constraint", step.source or "", match["name"].strip()) for step, match in refused}
