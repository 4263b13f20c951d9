"""Workers of dask, on this machine or others, as places for the runs of an exploration.

Each thread of a worker gets one place: an actor (`actor.py`), which starts a process there
(`process.py`).  The client's event loop is in a thread of its own; what is asked there is
waited for here, and whoever waits can be cancelled.
"""

from __future__ import annotations

import asyncio
import uuid
import warnings
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from ..._text import text_of
from ...base import pickling
from ...base.loops import from_other_threads
from ...databases.dumps import Dump, DumpError
from ...exceptions import ClusterError
from ...exploring.stepping.remote import LostError
from .actor import ProcessActor
from .assignment import Readiness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence

    from ...databases.dumps import Source

_CONNECTING = 10.0  # seconds
_LATER = 10.0  # seconds more than the first, for a place to be ready, and for its process to end
_FAREWELL = 45.0  # seconds for the first process to end


@dataclass
class WorkerThread:
    """One thread of a worker, for one run at a time.

    Attributes:
        address: Of the worker.
        readiness: Whether it makes runs.
    """

    address: str
    cluster: Cluster
    readiness: Readiness = field(default_factory=lambda: Readiness("it was not ready in time"))
    _future: Any = None

    async def ask(self, message: bytes) -> bytes:
        """Ask the process there.

        Raises:
            LostError: There is no answer.
        """
        try:
            answer, problem = await self.cluster.on_loop(self._ask, message)
        except Exception as error:
            raise LostError(f"the worker cannot be reached any more: {text_of(error)}") from error
        if problem:
            raise LostError(problem)
        return bytes(answer)

    async def _ask(self, message: bytes) -> Any:
        if self._future is None:
            self._future = self.cluster.actor_at(self.address)
        return await (await self._actor()).ask(message)

    async def _actor(self) -> Any:
        with self.cluster.client.as_current():  # for which the actor looks
            return await self._future

    async def open(self, assignment: bytes, sources: Mapping[str, Source], progress: Callable[[], None]) -> None:
        """Have it get ready, and send it the dumps that it asks for.

        Args:
            sources: Of the dumps, by the names of the originals.
            progress: Called after each piece of a dump.
        """
        try:
            readiness: Readiness = pickling.loads(await self.ask(assignment))
            while readiness.wanted:
                readiness = await self._send(sources[readiness.wanted], readiness.wanted, progress)
            self.readiness = readiness
        except DumpError as error:
            problem = f"it has a server of its own for the database, and there is no dump for it, because {error}"
            self.readiness = Readiness(problem, is_refused=True)
        except LostError as lost:
            self.readiness = Readiness(str(lost))

    async def _send(self, source: Source, name: str, progress: Callable[[], None]) -> Readiness:
        """Send a dump as it is made; return what the worker says then."""
        dump = await anyio.to_thread.run_sync(Dump, source)
        try:
            while True:
                piece = await anyio.to_thread.run_sync(dump.read, abandon_on_cancel=True)
                readiness: Readiness = pickling.loads(await self.ask(piece))
                progress()
                if not piece or readiness.wanted != name:
                    return readiness
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(dump.close)

    async def close(self) -> None:
        """Have its process end."""
        if self._future is not None:
            await (await self._actor()).close()


class Cluster:
    """The workers of a scheduler, by way of a client."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.threads: list[WorkerThread] = []

    async def on_loop(self, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Any:
        """Await a coroutine function in the loop of the client."""
        done, in_loop = anyio.Event(), from_other_threads()

        def tell(_: object) -> None:
            try:
                in_loop(done.set)
            except RuntimeError:  # nobody waits any more, and the loop has ended
                return

        coroutine = function(*args)
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self.client.loop.asyncio_loop)
        except RuntimeError:  # the client was closed meanwhile
            coroutine.close()
            raise
        future.add_done_callback(tell)
        try:
            await done.wait()
        finally:
            future.cancel()
        return future.result()

    async def find(self) -> None:
        """Find out which workers there are.

        Raises:
            ClusterError: None.
        """
        counts: dict[str, int] = {}
        with anyio.move_on_after(_CONNECTING):
            counts = await self.on_loop(self._thread_counts)
        self.threads = [WorkerThread(address, self) for address, count in sorted(counts.items()) for _ in range(count)]
        if not self.threads:
            raise ClusterError(f"the scheduler {self.address}", "it has no workers. Start some: dask worker ADDRESS")

    async def _thread_counts(self) -> dict[str, int]:
        found: dict[str, int] = await self.client.nthreads()
        return found

    @property
    def address(self) -> str:
        """Of the scheduler."""
        return str(self.client.scheduler.address) if self.client.scheduler is not None else "that is gone"

    def actor_at(self, address: str) -> Any:
        """Have an actor on a worker, in a while; to be called in the loop of the client."""
        return self.client.submit(
            ProcessActor,
            actor=True,
            workers=[address],
            allow_other_workers=False,
            pure=False,
            key=f"aioconcurrent-{uuid.uuid4()}",
        )

    async def open(
        self, assignments: Sequence[bytes], sources: Sequence[Mapping[str, Source]], patience: float
    ) -> list[WorkerThread]:
        """Have all places get ready that do not take much longer than the first; return those that are.

        Args:
            assignments: One for each of them.
            sources: Of the dumps that each of them may ask for.
            patience: Seconds for the first, and for one that loads a dump from one piece to the next.

        Raises:
            ClusterError: None is ready, or one cannot make the runs that are made here.
        """
        waiting = anyio.CancelScope(deadline=anyio.current_time() + patience)
        loading_until, is_first = 0.0, True

        def load_on() -> None:
            nonlocal loading_until
            loading_until = anyio.current_time() + patience
            waiting.deadline = max(waiting.deadline, loading_until)

        async def open_one(thread: WorkerThread, assignment: bytes, sources: Mapping[str, Source]) -> None:
            nonlocal is_first
            await thread.open(assignment, sources, load_on)
            if is_first:
                waiting.deadline = max(loading_until, anyio.current_time() + _LATER)
            is_first = False

        with waiting:
            async with anyio.create_task_group() as group:
                for arguments in zip(self.threads, assignments, sources, strict=True):
                    group.start_soon(open_one, *arguments)
        ready = [thread for thread in self.threads if not thread.readiness.problem]
        refused = [thread for thread in self.threads if thread.readiness.is_refused]
        if refused or not ready:
            worst = (refused or self.threads)[0]
            raise ClusterError(f"the worker {worst.address}", worst.readiness.problem)
        return ready

    async def close(self) -> None:
        """Have all processes end that were started on workers."""
        threads, self.threads = self.threads, []
        with anyio.move_on_after(_FAREWELL, shield=True) as scope:
            async with anyio.create_task_group() as group:
                for thread in threads:
                    group.start_soon(self._close_one, thread, scope)
        if scope.cancelled_caught:
            left = "A worker of dask does not answer, so that a process of an exploration may still be there for now."
            warnings.showwarning(left, RuntimeWarning, __file__, 0)

    async def _close_one(self, thread: WorkerThread, scope: anyio.CancelScope) -> None:
        try:
            await self.on_loop(thread.close)
        except Exception:  # it is gone, or its worker is, which ends it as well
            return
        scope.deadline = min(scope.deadline, anyio.current_time() + _LATER)  # nobody needs to wait for ever


@asynccontextmanager
async def joined(workers: Any) -> AsyncIterator[Cluster]:
    """Use the workers of a cluster in a block; no process of ours is left on them afterwards.

    Args:
        workers: The address of a scheduler, or a client.

    Raises:
        ClusterError: There is no scheduler, or no worker.
    """
    is_ours = isinstance(workers, str)
    client = await anyio.to_thread.run_sync(_connected, workers) if is_ours else workers
    if client.status != "running" or client.loop.asyncio_loop.is_closed():
        raise ClusterError("the client of dask", f"it is {client.status}")
    cluster = Cluster(client)
    try:
        await cluster.find()
        yield cluster
    finally:
        with anyio.CancelScope(shield=True):
            await cluster.close()
            if is_ours:
                await anyio.to_thread.run_sync(_close, client)


def _connected(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        problem = "dask is not installed: python -m pip install 'aioconcurrent[dask]'"
        raise ClusterError(f"the scheduler {address}", problem) from error
    try:
        return Client(address, timeout=_CONNECTING, set_as_default=False, name="aioconcurrent")
    except (OSError, ValueError) as error:
        raise ClusterError(f"the scheduler {address}", f"it cannot be reached: {text_of(error)}") from error


def _close(client: Any) -> None:
    client.close(timeout=_CONNECTING)
