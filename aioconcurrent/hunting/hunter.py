"""One hunt: what the tests do is recorded first, and explored when they run again."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from .._text import text_of
from ..base import own_clock as time
from ..base.points import UNFOLLOWED
from ..databases.schema import Catalogue
from ..exploring.orders.footprint import filled
from ..running.options import current_options
from .committing import committing, explored, uncompared
from .findings import Finding, Findings, cause_of, kind_of
from .observer import observer
from .pairs import Pair, Record, Unhunted, pairs, touches
from .reproduction import ready_test, without_secrets

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from ..base.trace import Operation
    from ..results.exploration import Exploration
    from .actions import Action
    from .options import HuntOptions

    Work = Callable[[], None]

_UNCOUNTED = frozenset({"django_session", "django_admin_log", "django_content_type"})  # tables of nobody's races
BUDGET = "the budget was spent"
NO_OVERLAP = "nothing that they touch closes a cycle"
SAME = "the same pair with the same statements was explored in another test"
SKIPPED = "--only or --skip leaves them out"
NOT_MET = "the test did something else when it ran again"
_REPLAYED_BY = "aioconcurrent hunt --write-test N, and: pytest test_race_N.py --aioconcurrent-replay '{}'"


@dataclass
class Counts:
    """Figures of a hunt.

    Attributes:
        tests: That passed and came to actions.
        actions: That were recorded.
        pairs: That were explored.
        verdicts: How many of them had which.
        exhaustive: Of those without a race, how many were explored to the end.
        schedules: Runs in all.
        seconds: Of exploring and running tests again.
    """

    tests: int = 0
    actions: int = 0
    pairs: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    exhaustive: int = 0
    schedules: int = 0
    seconds: float = 0.0


class Hunter:
    """A hunt in this process.

    Attributes:
        options: What was asked.
        findings: The races so far.
        unhunted: Why pairs were not explored.
        counts: Figures so far.
        unfollowed: Work that nobody explores, a sentence each, and what enqueues it.
        plan: The pairs that are to be explored, by the id of their test.
        tell: Shows a line of progress.
    """

    def __init__(self, options: HuntOptions) -> None:
        self.options = options
        self.findings = Findings()
        self.unhunted = Unhunted()
        self.counts = Counts()
        self.unfollowed: dict[str, dict[str, None]] = {}
        self.plan: dict[str, list[Pair]] = {}
        self.tell: Callable[[str], None] = lambda _: None
        self.take: Callable[[tuple[str, ...]], bool] = lambda _: True  # a pair by its key; False if others have it
        self._records: list[Record] = []
        self._here: list[Record] = []  # of the test that runs
        self._test: str | None = None
        self._is_again = False
        self._met: dict[tuple[str, int], Action] = {}  # what the test that runs again has come to
        self._seen: Counter[str] = Counter()  # how often the test has come to actions of each name
        self._is_inside = False
        self._catalogue_of_all = Catalogue(frozenset())
        self._deadline = float("inf")
        self._told = self._total = 0

    # --- the first run

    def begin(self, test: str) -> None:
        """Take note that a test begins."""
        self._test, self._here, self._met, self._seen = test, [], {}, Counter()

    def end(self, *, passed: bool) -> None:
        """Take note that it has ended; what a test that failed has done says nothing."""
        if self._test is None:
            return
        if passed and not self._is_again and self._here:
            self._records += self._here
            self.counts.tests += 1
            self.counts.actions += len(self._here)
        self._test = None

    def meet(self, make: Callable[[], Action], run: Callable[[], Any]) -> Any:
        """Do what a test asks for; before that, explore it, if that is what is to be done now."""
        with self._meeting(make) as (before, after):
            for each in before:
                each()
            try:
                return run()
            finally:
                for each in after:
                    each()

    async def ameet(self, make: Callable[[], Action], run: Callable[[], Awaitable[Any]]) -> Any:
        """Do the same where an event loop is running; what is ours in the thread in which the async ORM works."""
        with self._meeting(make) as (before, after):
            for each in before:
                await sync_to_async(each)()
            try:
                return await run()
            finally:
                for each in after:
                    await sync_to_async(each)()

    @contextmanager
    def _meeting(self, make: Callable[[], Action]) -> Iterator[tuple[list[Work], list[Work]]]:
        """Yield what has to be done before and after that for which a test asks.

        What an action does by other actions is its own.
        """
        if self._test is None or self._is_inside:
            yield [], []
            return
        self._is_inside = True
        try:
            action = self._made(make)
            if action is None:
                yield [], []
            elif self._is_again:
                yield [partial(self._explore, pair, action) for pair in self._due(action)], []
            else:
                with observer.recording() as steps:
                    yield [], [partial(self._record, action, steps)]
        finally:
            self._is_inside = False

    def _made(self, make: Callable[[], Action]) -> Action | None:
        """The action, if it can be done again: whatever keeps it from that is no fault of the test."""
        try:
            return make()
        except Exception as error:
            self.unhunted.add(_told(error))
            return None

    def _record(self, action: Action, steps: Sequence[Operation]) -> None:
        assert self._test is not None
        steps = tuple(steps)  # without what is asked of the database from here on
        ignored = {*_UNCOUNTED, *(name.replace(".", "_").lower() for name in self.options.ignore)}
        try:
            catalogue, queues = self._catalogue(steps), current_options().queues
            touched = touches(steps, catalogue, ignored)
            unfollowed = {told for step in steps for told in filled(step, catalogue, queues)}
        except Exception as error:  # of a statement that nobody can read, or a connection that is gone
            self.unhunted.add(_told(error))
            return
        for told in unfollowed:
            self.miss(told, [action.name])
        enqueues = any(step.kind == "enqueue" for step in steps)
        self._here.append(Record(self._test, self._numbered(action), action.name, touched, enqueues))

    def miss(self, told: str, names: Iterable[str]) -> None:
        """Take note of work that nobody explores, and of what enqueues it."""
        self.unfollowed.setdefault(told, {}).update(dict.fromkeys(names))

    def _numbered(self, action: Action) -> int:
        """Which of its name an action is: what fixtures of a wider scope do comes in one of the two runs alone."""
        number = self._seen[action.name]
        self._seen[action.name] += 1
        return number

    def _catalogue(self, steps: Sequence[Operation]) -> Catalogue:
        """The tables of all databases that are open, looked up once."""
        if not self._catalogue_of_all.tables and steps:
            from django.db import connections

            names: set[str] = set()
            for connection in connections.all(initialized_only=True):
                if connection.connection is not None:
                    names |= {name.lower() for name in connection.introspection.table_names()}
            self._catalogue_of_all = Catalogue(frozenset(names), uniques=_keys_of_models())
        return self._catalogue_of_all

    # --- the plan

    def prepare(self) -> list[str]:
        """Decide what is to be explored; return the tests that have to run again, the most dangerous first."""
        by_test: dict[str, list[Record]] = {}
        for record in self._records:
            by_test.setdefault(record.test, []).append(record)
        candidates = []
        for records in by_test.values():
            found = list(pairs(records, with_readers=self.options.bodies))
            hunted = len(records) if self.options.bodies else sum(record.writes for record in records)
            self.unhunted.add("it only reads", len(records) - hunted)
            possible = hunted * (hunted + 1) // 2
            self.unhunted.add(NO_OVERLAP, possible - sum(not pair.is_alone for pair in found))
            candidates += found
        wanted = [pair for pair in candidates if self.options.is_wanted(pair.first.name, pair.second.name)]
        self.unhunted.add(SKIPPED, len(candidates) - len(wanted))
        chosen = self._each_once(wanted)
        for pair in chosen:
            self.plan.setdefault(pair.second.test, []).append(pair)
        return list(self.plan)

    def _each_once(self, wanted: list[Pair]) -> list[Pair]:
        """Each pair of the same statements once; other statements of a pair come after all other pairs.

        What one action shows with its tasks is told of that, and not of the action twice.
        """
        wanted = sorted(
            wanted, key=lambda pair: (pair.is_said_to_read, not pair.is_alone, -pair.danger, not pair.is_twice)
        )
        chosen: dict[tuple[str, ...], Pair] = {}
        for pair in wanted:
            chosen.setdefault(pair.key, pair)
        self.unhunted.add(SAME, len(wanted) - len(chosen))
        times: Counter[tuple[str, str]] = Counter()
        ranked = []
        for pair in chosen.values():
            ranked.append((times[pair.names], pair))
            times[pair.names] += 1
        return [pair for _, pair in sorted(ranked, key=lambda each: each[0])]

    @property
    def planned(self) -> list[Pair]:
        """All pairs of the plan."""
        return [pair for planned in self.plan.values() for pair in planned]

    # --- the second run

    @contextmanager
    def again(self) -> Iterator[None]:
        """Explore, in a block, what tests that run again come to."""
        begun, self._total = time.monotonic(), len(self.planned)
        self._deadline = begun + self.options.seconds
        self._is_again = committing.is_on = True
        try:
            yield
        finally:
            self._is_again = committing.is_on = False
            self.counts.seconds += time.monotonic() - begun

    def is_due(self, test: str) -> bool:
        """Whether a test still has to run again; where time is up, what is left is counted."""
        if time.monotonic() < self._deadline:
            return True
        self.unhunted.add(BUDGET, len(self.plan.get(test, ())))
        self.plan[test] = []
        return False

    def settle(self, test: str) -> None:
        """Count what a test that has run again did not come to."""
        self.unhunted.add(NOT_MET, len(self.plan.get(test, ())))
        self.plan[test] = []

    def _due(self, action: Action) -> list[Pair]:
        """The pairs of the plan that end with the action to which the test has come."""
        assert self._test is not None
        number = self._numbered(action)
        self._met[action.name, number] = action
        planned = self.plan.get(self._test, [])
        due = [pair for pair in planned if pair.second.number == number and pair.second.name == action.name]
        self.plan[self._test] = [pair for pair in planned if pair not in due]
        return [pair for pair in due if self._claims(pair)]

    def _claims(self, pair: Pair) -> bool:
        """Whether this process is the first to explore a pair, and has time."""
        if time.monotonic() >= self._deadline:
            self.unhunted.add(BUDGET)
            return False
        if not self.take(pair.key):
            self.unhunted.add(SAME)
            return False
        return True

    def _explore(self, pair: Pair, action: Action) -> None:
        first = self._met.get((pair.first.name, pair.first.number))
        if first is None:
            self.unhunted.add(NOT_MET)
            return
        met = (action,) if pair.is_alone else (first, action)
        try:
            found = explored([each.call for each in met], self.options)
        except Exception as error:
            self._note_failure(pair, error)
        else:
            self._note(pair, met, found)

    def _note_failure(self, pair: Pair, error: Exception) -> None:
        reason = _told(error)
        self.unhunted.add(reason)
        self._progress(pair, f"not explored: {reason}")

    def _note(self, pair: Pair, actions: tuple[Action, ...], found: Exploration) -> None:
        self.counts.pairs += 1
        self.counts.verdicts[found.verdict] += 1
        self.counts.exhaustive += found.exhaustive
        self.counts.schedules += found.schedules_run
        example = found.counterexample
        for note in found.notes:
            if note.startswith(UNFOLLOWED):
                self.miss(note, pair.names)
        if example is None:
            told = f"{found.verdict} ({found.schedules_run})"
            if found.verdict == "inconclusive":
                reason = " ".join(found.reason.split())
                self.unhunted.add(f"inconclusive: {reason}")
                told += f": {reason}"
            self._progress(pair, told)
            return
        texts = dict(zip(found.calls, (action.text for action in actions), strict=False))  # tasks have their own
        found = replace(found, calls=tuple(texts.get(call, call) for call in found.calls))
        example = replace(example, calls=tuple(texts.get(call, call) for call in example.calls))
        finding = Finding(
            actions=example.calls,
            names=pair.names,
            anomaly=example.anomaly,
            kind=kind_of(example),
            explanation=example.explanation,
            hint=example.hint,
            test=pair.second.test,
            token=example.token,
            cause=cause_of(example, pair.names),
            story=f"{example.story(_REPLAYED_BY.format(example.token))}\n\n{example.lanes()}",
            schedules=found.schedules_run,
        )
        is_new = self.findings.add(finding)
        if is_new:
            ready = self._write_test(finding, actions)
            self._write_page(replace(found, counterexample=example), finding, ready)
        self._progress(pair, f"race: {finding.anomaly}{'' if is_new else ', again'}")

    def _write_page(self, found: Exploration, finding: Finding, ready: str) -> None:
        from ..report.page import write_page
        from ..results.exploration import story_of_exploration
        from ..running.options import editor_address

        story = story_of_exploration(found, f"{finding.who} in {finding.test}")
        note = f"Found by a hunt in {finding.test}; the order is {finding.token}."
        told = replace(
            story, token="", notes=(*story.notes, note), editor=editor_address(), test=without_secrets(ready)
        )
        page = write_page(replace(told, test=without_secrets(ready)), Path(self.options.folder, "pages"))
        self.findings.by_cause[finding.cause] = replace(self.findings.by_cause[finding.cause], page=page.name)

    def _write_test(self, finding: Finding, actions: tuple[Action, ...]) -> str:
        """Keep a ready test of a race and return its text; nothing if none can be written."""
        text = problem = ""
        try:
            text = ready_test(finding, actions, uncompared(self.options))
        except Exception as error:
            problem = f"# No test could be written: {_told(error)}\n"
        self.findings.by_cause[finding.cause] = replace(self.findings.by_cause[finding.cause], ready=text or problem)
        return text

    def _progress(self, pair: Pair, what: str) -> None:
        self._told += 1
        races = len(self.findings.by_cause)
        self.tell(f"[{self._told}/{self._total}] {pair}: {what}; {races} race{'' if races == 1 else 's'} so far")


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {text_of(error)}".splitlines()[0][:200]


def _keys_of_models() -> dict[str, frozenset[frozenset[str]]]:
    """The primary and unique keys of one column, by table, as the models have them."""
    from django.apps import apps

    found: dict[str, frozenset[frozenset[str]]] = {}
    for model in apps.get_models(include_auto_created=True):
        fields = [each for each in model._meta.local_concrete_fields if each.primary_key or each.unique]
        found[model._meta.db_table.lower()] = frozenset(frozenset({str(each.column).lower()}) for each in fields)
    return found
