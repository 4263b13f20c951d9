"""Where the runs of an exploration are made: on the caller's databases, on copies here, and on other machines.

What one place has shown is told to all of them.  A remote place that is lost, or where the calls do other things than
here, is left out.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, nullcontext
from functools import partial
from operator import methodcaller
from typing import TYPE_CHECKING, Any

import anyio

from ..._text import text_of
from ..orders.walk import Walk
from .crew import Crew, crewed
from .maker import Made, in_thread
from .remote import LostError, RemotePlace, UnprovedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from ...databases.state import Advance
    from ..judging.facts import Numbers
    from ..judging.verdict import Account
    from ..orders.search import Search
    from ..orders.walk import Rules
    from .maker import Maker, Place
    from .same_processes import Reuse
    from .stepped_databases import ExploredDatabases

_ANSWER = 5.0  # seconds for a remote place to say what has changed there
_TRIES = 2  # of a first remote run, in which it may learn how statements are stepped
_SHARED = "one worker made all runs: the calls use what copies of the test database would share, such as a cache"


class NotCopiedError(Exception):
    """The calls use a database that nobody expected, so that it was not copied; the argument is an alias of it."""


class Places:
    """All places of one exploration.

    Args:
        here: The first has the caller's rows.
        remote: On other machines, for runs of the search.
        maker: Makes the runs on those here.
        reuse: Whether runs are made in the same processes.
        account: Is told what people should know.
    """

    def __init__(
        self, here: Sequence[Place], remote: Sequence[RemotePlace], maker: Maker, reuse: Reuse, account: Account
    ) -> None:
        self.maker = maker
        self._here, self._remote, self._reuse, self._account = here, remote, reuse, account
        self.stage, self.databases = here[0].stage, here[0].databases
        for place in here:
            place.databases.order.matters = place.stage.is_alone = len(here) + len(remote) == 1
        self._home = anyio.Lock()  # held by who has a run made on the first
        self._given_up: list[Place] = []  # those on which no more runs are made
        self._lost: set[RemotePlace] = set()
        self._model: Made | None = None  # the first run of the search
        self._crew: Crew[int | RemotePlace, Made] | None = None

    @asynccontextmanager
    async def leaving(self) -> AsyncIterator[None]:
        """Whatever happens in the block, leave the rows as they were found."""
        is_done = False
        try:
            yield
            is_done = True
        finally:
            with anyio.CancelScope(shield=True):
                for place in (*self._here, *self._given_up):
                    await place.stage.aclose(in_order=is_done)
                    await self.maker.end_sessions(place.stage.reports)
                    kept = self.maker.strange if place.is_clean else ()
                    await in_thread(partial(place.databases.restore, but=kept))
                await self._everywhere("move_counters")

    @asynccontextmanager
    async def crewed(self, search: Search, calls: tuple[int, ...]) -> AsyncIterator[Crew[int | RemotePlace, Made]]:
        """Have the runs of a search made on all places, see `crewed`."""
        remote = [place for place in self._remote if place not in self._lost]
        here: Sequence[int | RemotePlace] = range(len(self._here))
        async with crewed(search, here, partial(self._make_ahead, calls), self._home, remote) as crew:
            self._crew = crew
            yield crew

    def tell_all(self, learn: Callable[[ExploredDatabases], bool]) -> bool:
        """Have all places here know of something; whether it was new to any.  Remote ones are told before a run."""
        return True in [learn(place.databases) for place in self._here]

    async def _everywhere(self, name: str, *args: Any) -> list[Any]:
        """Have this done with the databases of all places; return what came of it here."""
        do = methodcaller(name, *args)
        for place in self._remote:
            do(place)
        return await self._here_in_turn(do)

    async def _here_in_turn(self, do: Callable[[Any], Any]) -> list[Any]:
        return [await in_thread(do, place.databases) for place in self._here]

    async def open(self, identity: str) -> None:
        """Open a database that the calls use, where all copies of it are; else make no more runs on copies.

        Raises:
            NotCopiedError: It should have been copied.
        """
        copies = [place.databases for place in self._here[1:]]
        others: list[ExploredDatabases | RemotePlace] = [*copies, *self._remote]
        if all(each.can_open(identity) for each in others):
            await self._everywhere("open", identity)
        elif self.databases.can_open(identity) and not self.databases.is_expected(identity):
            raise NotCopiedError(self.databases.aliases[identity])
        else:
            self._given_up += self._here[1:]
            self._here, self._remote = self._here[:1], ()
            self._account.note(_SHARED)

    async def add(self, task: bytes, enqueuer: int) -> None:
        """Have one call more on all places, which makes what this one enqueues."""
        for place in self._here:
            await place.stage.add(task, enqueuer)
        for other in self._remote:
            other.add(task, enqueuer)

    async def begin_anew(self) -> None:
        """Have the counters of keys where they were found, and forget the runs that were made."""
        await self._everywhere("move_counters")
        self._model = None

    async def move_counters(self, advances: Sequence[Advance]) -> list[Numbers]:
        """Move the counters of keys, see `ExploredDatabases`; return the numbers that they give then."""
        self.maker.is_tuned = True
        async with self._crew.standstill() if self._crew is not None else nullcontext():
            numbers, *_ = await self._everywhere("move_counters", advances)
        return numbers  # type: ignore[no-any-return]

    async def stop_keeping(self) -> None:
        """Let no processes stay from one run to the next."""
        for place in self._here:
            await place.stage.stop_keeping()

    async def widen(self) -> bool:
        """Look for tables that have changed here without a statement, to be looked at from now on; whether any has."""
        return any(await self._here_in_turn(methodcaller("widen")))

    async def widen_remotely(self, rules: Rules) -> bool:
        """Look for tables that have changed remotely without a statement; whether any has."""
        before = frozenset(self.databases.widened)
        async with anyio.create_task_group() as group:
            for place in self._remote:
                if place.is_alike:
                    group.start_soon(self._widen_at, place, rules)
        return not self.databases.widened <= before

    async def _widen_at(self, place: RemotePlace, rules: Rules) -> None:
        if place not in self._lost:
            with anyio.move_on_after(_ANSWER):
                try:
                    self.databases.widened |= await place.widen(rules, self.maker, self.databases)
                    return
                except LostError as lost:
                    self._lose(place, lost)
        self._account.unseen.add(f"whether runs on {place.name} changed anything that no statement tells of")

    def _lose(self, place: RemotePlace, why: LostError) -> None:
        """Make no more runs there."""
        if place not in self._lost:
            self._lost.add(place)
            self._account.note(f"no more runs were made on {place.name}: {why}")

    async def make_at_home(self, *args: Any, **options: Any) -> Made:
        """Make a run where the caller's rows are, see `Maker`."""
        async with self._home:
            return await self._make(0, *args, **options)

    async def _make(self, number: int, *args: Any, **options: Any) -> Made:
        place = self._here[number]
        if place.stage.keeps and not self._reuse.keeps:
            await place.stage.stop_keeping()
        return await self.maker.make(place, *args, is_first=not self._account.made, **options)

    async def _make_ahead(self, calls: tuple[int, ...], place: int | RemotePlace, run: Walk) -> Made:
        if isinstance(place, RemotePlace):
            return await self._make_remotely(calls, place, run)
        made = await self._make(place, run, calls, calls, ask_rule=True)
        if made.seen is not None:
            self._model = self._model or made
        return made

    async def _make_remotely(self, calls: tuple[int, ...], place: RemotePlace, run: Walk) -> Made:
        """Make a run on another machine, once a first one there was like the first one here.

        Raises:
            LostError: It cannot be made there.
        """
        make = partial(place.make, rules=run.rules, calls=calls, maker=self.maker, here=self.databases)
        try:
            for _ in range(_TRIES):
                if not place.is_alike and self._model is not None:
                    place.is_alike = (await make(Walk((), run.rules), is_first=True)).is_like(self._model)
            if place.is_alike:
                return await make(run, is_first=False)
            lost = LostError("the calls do other things there than here")
        except UnprovedError as unproved:
            if not unproved.args[0]:
                self._lose(place, LostError("; ".join(unproved.args[1:])))
            raise
        except Exception as error:
            lost = error if isinstance(error, LostError) else LostError(f"{type(error).__name__}: {text_of(error)}")
        self._lose(place, lost)
        raise lost
