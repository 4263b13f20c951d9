"""Several runs of a search at the same time, each on a place of its own, delivered when their turn comes.

A place is everything that a run needs for itself: a stage, and a copy of the database.  A run
that was made ahead of its turn is kept until the search asks for it.  So the search sees the
same runs in the same order, however many places there are and however long each run takes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Generic, TypeVar

import anyio

from .search import Search
from .walk import Walk

Place = TypeVar("Place")
Result = TypeVar("Result")


@asynccontextmanager
async def crewed(
    search: Search,
    places: Sequence[Place],
    perform: Callable[[Place, Walk], Awaitable[Result]],
    home: anyio.Lock,
) -> AsyncIterator[Crew[Place, Result]]:
    """Have the runs of a search made on several places.

        async with crewed(search, places, perform, home) as crew:
            while (run := search.next_run()) is not None:
                result = await crew.result(run)

    With one place nothing is made ahead.  When the block is left, runs that are under way come to their ends, unless
    it is cancelled.

    Args:
        places: At least one.
        perform: Makes a run on a place.  What it raises is raised where its result is asked for.
        home: Is held while a run is made on the first of several places, so that others may use it in between.
    """
    crew, failure = Crew(search, places, perform, home), None
    if len(places) == 1:
        yield crew
        return
    async with anyio.create_task_group() as group:
        for place in places:
            group.start_soon(crew.work, place)
        try:
            yield crew
        except Exception as error:
            failure = error
        finally:
            crew.retire()
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
    ) -> None:
        self._search = search
        self._places = places
        self._perform = perform
        self._wanted: Walk | None = None  # whose turn it is, if nobody makes it yet
        self._taken: set[Walk] = set()  # those that are under way, or made
        self._results: dict[Walk, Result | Exception] = {}
        self._news = anyio.Event()
        self._under_way = 0
        self._is_still = False
        self._is_over = False
        self._home = home

    async def result(self, run: Walk) -> Result:
        """What a run came to whose turn it is."""
        if len(self._places) == 1:
            return await self._perform(self._places[0], run)
        if run not in self._taken:
            self._wanted = run
        self._tell()  # the search has gone on, so that it may know more to make ahead
        while run not in self._results:
            await self._news.wait()
        self._taken.remove(run)
        result = self._results.pop(run)
        if isinstance(result, Exception):
            raise result
        return result

    @asynccontextmanager
    async def standstill(self) -> AsyncIterator[None]:
        """Have no run made in the block, and those forgotten that were made ahead: what they show holds no longer."""
        self._is_still = True
        while self._under_way:
            await self._news.wait()
        self._taken.clear()
        self._results.clear()
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
                run = self._next()
                if run is not None:
                    self._under_way += 1
                    self._results[run] = await self._made(place, run)
                    self._under_way -= 1
            if run is not None:
                self._tell()
            elif not self._is_over:  # nor has it become so while home was waited for
                await self._news.wait()

    async def _made(self, place: Place, run: Walk) -> Result | Exception:
        try:
            result = await self._perform(place, run)
            self._search.foresee(run)
            return result
        except Exception as error:
            return error

    def _next(self) -> Walk | None:
        if self._is_still or self._is_over:
            return None
        run, self._wanted = self._wanted, None
        if run is None:
            run = next(iter(self._search.ahead(1)), None)
        if run is not None:
            self._taken.add(run)
        return run

    def retire(self) -> None:
        """Begin no more runs."""
        self._is_over = True
        self._tell()

    def _tell(self) -> None:
        """Wake whoever waits for something to have changed."""
        self._news.set()
        self._news = anyio.Event()
