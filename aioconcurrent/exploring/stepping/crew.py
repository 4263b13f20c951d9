"""Several runs of a search at the same time, each on a place of its own, delivered when their turn comes.

A place is everything that a run needs for itself: a stage, and a copy of the database.  A run
that was made ahead of its turn is kept until the search asks for it.  So the search sees the
same runs in the same order, however many places there are and however long each run takes.

Remote places are on other machines, which may be slow, or lost in the middle of a run.  So nobody
waits for a run there for long: another place makes it, too, and what comes first counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Generic, TypeVar

import anyio

from ..orders.search import Search
from ..orders.walk import Walk
from .remote import LostError, UnprovedError

Place = TypeVar("Place")
Result = TypeVar("Result")

_PATIENCE = 1.0  # seconds for which a run that is asked for may be under way remotely, at least
_SLOW = 3  # times as long as the longest run here, for the same


@asynccontextmanager
async def crewed(
    search: Search,
    places: Sequence[Place],
    perform: Callable[[Place, Walk], Awaitable[Result]],
    home: anyio.Lock,
    remote: Sequence[Place] = (),
) -> AsyncIterator[Crew[Place, Result]]:
    """Have the runs of a search made on several places.

        async with crewed(search, places, perform, home) as crew:
            while (run := search.next_run()) is not None:
                result = await crew.result(run)

    With one place nothing is made ahead.  When the block is left, runs that are under way come to their ends, unless
    it is cancelled, or they are under way remotely.

    Args:
        places: At least one.
        perform: Makes a run on a place.  What it raises is raised where its result is asked for.
        home: Is held while a run is made on the first of several places, so that others may use it in between.
        remote: More places, which are used when a first run was made on another.  Where `perform` raises a
            LostError, another place makes the run.
    """
    crew, failure = Crew(search, places, perform, home, remote), None
    if len(places) + len(remote) == 1:
        yield crew
        return
    async with anyio.create_task_group() as group, anyio.create_task_group() as others:
        for place in places:
            group.start_soon(crew.work, place)
        for place in remote:
            others.start_soon(crew.work_remotely, place)
        try:
            yield crew
        except Exception as error:
            failure = error
        finally:
            crew.retire()
            others.cancel_scope.cancel()
    if failure is not None:
        raise failure


class Crew(Generic[Place, Result]):
    """What `crewed` gives."""

    def __init__(
        self,
        search: Search,
        places: Sequence[Place],
        perform: Callable[[Place, Walk], Awaitable[Result]],
        home: anyio.Lock,
        remote: Sequence[Place] = (),
    ) -> None:
        self._search = search
        self._places = places
        self._is_alone = len(places) + len(remote) == 1
        self._perform = perform
        self._wanted: Walk | None = None  # whose turn it is, if nobody makes it yet
        self._returned: deque[Walk] = deque()  # those that a remote place has failed to make
        self._unproved: deque[Walk] = deque()  # those that a place here has to make, for the same reason
        self._taken: set[Walk] = set()  # those that are under way, or made
        self._remote: dict[Walk, float] = {}  # since when those are under way that nobody makes here
        self._awaited: Walk | None = None  # whose result is asked for
        self._results: dict[Walk, Result | Exception] = {}
        self._news = anyio.Event()
        self._under_way = 0  # not counting remote ones
        self._longest = 0.0  # seconds that a run has taken here
        self._is_still = False
        self._is_over = False
        self._has_begun = anyio.Event()
        self._home = home

    async def result(self, run: Walk) -> Result:
        """What a run came to whose turn it is."""
        if self._is_alone:
            return await self._perform(self._places[0], run)
        if run not in self._taken:
            self._wanted = run
        self._awaited = run
        self._tell()  # the search has gone on, so that it may know more to make ahead
        while run not in self._results:
            await self._news.wait()
        self._awaited = None
        self._taken.remove(run)
        result = self._results.pop(run)
        self._has_begun.set()
        if isinstance(result, Exception):
            raise result
        return result

    @asynccontextmanager
    async def standstill(self) -> AsyncIterator[None]:
        """Have no run made in the block, and those forgotten that were made ahead: what they show holds no longer."""
        self._is_still = True
        while self._under_way:
            await self._news.wait()
        for forgotten in (self._taken, self._results, self._remote, self._returned, self._unproved):
            forgotten.clear()
        self._search.forget_ahead()
        try:
            yield
        finally:
            self._is_still = False
            self._tell()

    async def work(self, place: Place) -> None:
        """Make one run after another on a place."""
        while not self._is_over:
            async with self._home if place is self._places[0] else nullcontext():
                run = self._next(here=True)
                if run is not None:
                    self._under_way += 1
                    self._results[run] = await self._made(place, run)
                    self._under_way -= 1
            if run is not None:
                self._tell()
            elif not self._is_over:  # nor has it become so while home was waited for
                with anyio.move_on_after(_PATIENCE if self._remote else None):
                    await self._news.wait()

    async def work_remotely(self, place: Place) -> None:
        """Make one run after another on a place that may be lost, or too slow."""
        await self._has_begun.wait()
        while not self._is_over:
            run = self._next(here=False)
            if run is None:
                await self._news.wait()
                continue
            self._remote[run] = anyio.current_time()
            double = run.fresh()
            try:
                result: Result | Exception = await self._perform(place, double)
            except LostError as lost:
                if self._remote.pop(run, None) is not None:
                    (self._unproved if isinstance(lost, UnprovedError) else self._returned).append(run)
                self._tell()
                if isinstance(lost, UnprovedError) and lost.args[0]:
                    continue
                return
            except Exception as error:
                result = error
            if self._remote.pop(run, None) is not None:  # else it was made here meanwhile, or is not wanted any more
                run.hear(double.shown)
                if not isinstance(result, Exception):
                    self._search.foresee(run)
                self._results[run] = result
                self._tell()

    async def _made(self, place: Place, run: Walk) -> Result | Exception:
        begun = anyio.current_time()
        try:
            result = await self._perform(place, run)
            self._longest = max(self._longest, anyio.current_time() - begun)
            self._search.foresee(run)
            return result
        except Exception as error:
            return error

    def _next(self, *, here: bool) -> Walk | None:
        if self._is_still or self._is_over:
            return None
        if here and self._unproved:
            return self._unproved.popleft()
        if self._returned:
            return self._returned.popleft()
        if here and (overdue := self._overdue()) is not None:
            del self._remote[overdue]
            return overdue
        run, self._wanted = self._wanted, None
        if run is None:
            run = next(iter(self._search.ahead(1)), None)
        if run is not None:
            self._taken.add(run)
        return run

    def _overdue(self) -> Walk | None:
        """The run that is asked for, if it has been under way remotely for long."""
        run = self._awaited
        if run is None or run not in self._remote:
            return None
        patience = max(_PATIENCE, _SLOW * self._longest)
        return run if anyio.current_time() >= self._remote[run] + patience else None

    def retire(self) -> None:
        """Begin no more runs."""
        self._is_over = True
        self._tell()

    def _tell(self) -> None:
        """Wake whoever waits for something to have changed."""
        self._news.set()
        self._news = anyio.Event()
