"""The awaitable API.

Application code may import this package only for `step`, so whatever runs processes is
imported when it is first needed.  It is imported in the thread that runs it, because
Ctrl-C interrupts the main thread alone, and an interrupted import leaves its package
half imported for the rest of the process.

A caller without an event loop gets an object that explains itself: `asyncio.run(explore(...))`
can run it like a coroutine, and a plain test that imported the wrong `explore` is told
which one to import.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar, overload

from ._text import naming_unknown
from .base.calls import Target, parsed, repeated
from .base.loops import current_backend, outside_loop
from .results.unread import Unread, hand_over
from .running.options import current_options
from .running.project import uses_django
from .running.question import ADVICE, question

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from .base.calls import Call
    from .databases.handoff import View
    from .results.exploration import AwaitedExploration, Exploration, Locks
    from .results.outcomes import Outcomes
    from .running.options import Options
    from .running.question import Ignored, Question, Refusals
    from .running.race import InCaller

__tracebackhide__ = True  # pytest shows the test, not this
P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound="Callable[..., Coroutine[Any, Any, Any]]")


def _explaining(function: F) -> F:
    """Let a coroutine function explain itself where its coroutines cannot be awaited."""
    return _CoroutineFunction(function)  # type: ignore[return-value]


class _CoroutineFunction:
    """Has what makes `inspect` and all that asks it take it for the coroutine function that it holds."""

    def __init__(self, function: Any) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        inner = inspect.unwrap(function)
        self.__code__, self.__defaults__, self.__kwdefaults__ = inner.__code__, inner.__defaults__, inner.__kwdefaults__

    def __call__(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        coroutine = self._function(*args, **kwargs)
        return coroutine if current_backend() else hand_over(Unawaited(coroutine, self._function.__name__))


class Unawaited(Coroutine[Any, Any, Any]):
    """A coroutine that says what to write, whatever is done with it but to run it."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], name: str) -> None:
        self._coroutine = coroutine
        self._text = (
            f"{name}(...) of aioconcurrent has to be awaited, and this is not a coroutine. Write "
            f"`from aioconcurrent.sync import {name}`, or `async def` and `await {name}(...)`."
        )
        self._unread = Unread()

    def _watch(self) -> Unread:
        text = self._text
        self._unread = Unread([0], lambda _: text)
        return self._unread

    def send(self, value: Any, /) -> Any:
        self._unread.look()
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        self._unread.look()
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._unread.look()
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        self._unread.look()
        return self._coroutine.__await__()

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("_", "ag_", "cr_", "gi_")):  # as event loops ask for
            return getattr(vars(self)["_coroutine"], name)
        raise AttributeError(self._explained(), name=name, obj=self)

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError(self._explained())

    def _explained(self) -> str:
        """The text; nothing more has to be said, not even by Python that nobody has awaited the coroutine."""
        self.close()
        return self._text

    __bool__ = __len__ = __iter__ = __getitem__ = __contains__ = _refuse

    def __repr__(self) -> str:
        return f"<{self._text}>"


@overload
async def call_concurrently(concurrency: int, function: str, /, *args: Any, **kwargs: Any) -> Outcomes[Any]: ...
@overload
async def call_concurrently(
    concurrency: int, function: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
) -> Outcomes[T]: ...
@overload
async def call_concurrently(
    concurrency: int, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
) -> Outcomes[T]: ...
@_explaining
async def call_concurrently(concurrency: int, function: Target, /, *args: Any, **kwargs: Any) -> Outcomes[Any]:
    """Call `function` that many times at the same moment, each time in a process of its own.

    No call begins before every process is ready and connected, so start-up times do
    not decide which call comes first.

    Args:
        concurrency: How many calls, at least 1.
        function: A callable, plain or async, or "package.module:qualified.name".
        *args: Passed on to `function`; must be picklable.
        **kwargs: Passed on to `function`; must be picklable.

    Returns:
        One item per call, in order: what the call returned, or a `WrappedError`
        that says why it did not.

    Raises:
        ValueError: `concurrency` is below 1, or a string target is malformed.
        TypeError: `concurrency` is not an integer, `function` is not callable, or it does not take the arguments.
        UnpicklableError: An argument or a changed setting cannot be pickled.
        UncommittedDataError: The caller is inside `atomic()`, and a call tried to connect.
        NotATestDatabaseError: A call tried to connect to a database that is not a test database.
        NoTerminalError: A call reached a `breakpoint()` and there is no terminal.
    """
    return await _make(repeated(concurrency, function, args, kwargs))


@_explaining
async def make_concurrent_calls(*calls: object) -> Outcomes[Any]:
    """Make different calls at the same moment, each in a process of its own.

    Args:
        *calls: Each `(function, kwargs)`, `(function, args)`, `(function, args, kwargs)`,
            `functools.partial(function, ...)`, or a function alone.

    Returns:
        One item per call, in order: what the call returned, or a `WrappedError`
        that says why it did not.

    Raises:
        ValueError: There are no calls, or a string target is malformed.
        TypeError: A call has none of these forms, its target is not callable, or does not take the arguments.
        UnpicklableError: An argument or a changed setting cannot be pickled.
        UncommittedDataError: And others, as for `call_concurrently`.
    """
    return await _make(parsed(calls))


@_explaining
@naming_unknown(ADVICE)
async def explore(
    *calls: object,
    check: Callable[[Outcomes[Any]], Any] | None = None,
    refusals: Refusals = (),
    ignore: Ignored = (),
    max_schedules: int | None = None,
    max_seconds: float | None = None,
    preemptions: int | None = None,
    strategy: str | None = None,
    remedies: bool = False,
) -> AwaitedExploration:
    """Step the calls from SQL statement to SQL statement, through every order that can matter, until one goes wrong.

    An order goes wrong if its ending differs from that of every serial order, in what the
    calls return or raise or in the rows of the database.  The current rows are put back
    before each run and at the end.

    Args:
        *calls: Written as for `make_concurrent_calls`.  One is enough if it enqueues tasks: each task becomes a
            call of its own.
        check: Your own rule, used instead of that comparison.  It is called with the outcomes of each run, while
            the rows are as the run has left them.  The order goes wrong if it returns False or raises
            AssertionError.
        refusals: Exceptions by which a call may refuse.  It then counts as not made.
        ignore: Models, or "app.Model" and "app.Model.field", whose rows or values are not compared, such as
            logs and visit counts; a single one need not be in a list.
        max_schedules: The maximum number of runs, by default 1000.
        max_seconds: The maximum time for all runs, by default 60 s.
        preemptions: Leave out orders in which calls are stopped more often than this although they
            could go on; by default none is left out.
        strategy: "search", the default, or "sample": when the serial orders were run, draw orders at random.
        remedies: If there is a race, also explore the calls in one transaction each, with the read locked and at
            other isolation levels.  The results are in `counterexample.remedies`.

    Returns:
        The verdict, and the order that goes wrong, if there is one.

    Raises:
        ValueError: There are no calls, or an argument is out of range.
        TypeError: An argument has the wrong type.
        UncommittedDataError: The caller is inside `atomic()`.
        UnpicklableError: An argument or a changed setting cannot be pickled.
        StateError: The rows cannot be read or put back.
        ProbeNotPermittedError: The database's user may not see who waits for locks.
        UnexplorableDatabaseError: Calls cannot be stepped on the engine of a database.
        PooledSessionError: A database is reached through a connection pooler.
        NoConnectionLeftError: The server has no connection left for a call or for the exploration.
    """
    return await _explore(
        question(
            calls,
            check=check,
            refusals=refusals,
            ignore=ignore,
            max_schedules=max_schedules,
            max_seconds=max_seconds,
            preemptions=preemptions,
            strategy=strategy,
            remedies=remedies,
        )
    )


@_explaining
@naming_unknown(ADVICE)
async def replay(
    token: str,
    /,
    *calls: object,
    check: Callable[[Outcomes[Any]], Any] | None = None,
    refusals: Refusals = (),
    ignore: Ignored = (),
) -> AwaitedExploration:
    """Run the calls once, in the order of a token.

    Args:
        token: The token of a counterexample, such as `aioc1:0.1*2.0:Xa3_`.
        *calls: The calls that it was found with.
        check: As for `explore`.
        refusals: As for `explore`.
        ignore: As for `explore`.

    Returns:
        "race" if the order still goes wrong, "no race" if it does not, and "inconclusive" if the
        code now behaves differently, with the step at which it left the order.

    Raises:
        TokenError: `token` is not a schedule token; a `ValueError`.
        ValueError: There are no calls.
        TypeError: An argument has the wrong type.
        UncommittedDataError: The caller is inside `atomic()`.
        UnpicklableError: An argument or a changed setting cannot be pickled.
        StateError: The rows cannot be read or put back.
        ProbeNotPermittedError: The database's user may not see who waits for locks.
        UnexplorableDatabaseError: Calls cannot be stepped on the engine of a database.
        PooledSessionError: A database is reached through a connection pooler.
        NoConnectionLeftError: The server has no connection left for a call or for the exploration.
    """
    return await _explore(question(calls, check=check, refusals=refusals, ignore=ignore, token=token))


async def _explore(asked: Question) -> AwaitedExploration:
    from .results.exploration import AwaitedExploration
    from .running.own_loop import run_awaited

    found = await run_awaited(run_exploration, asked, await _look(), in_caller=_in_database_thread)
    awaited = AwaitedExploration.of(found)
    return hand_over(awaited if asked.schedule else awaited.asked_by(functools.partial(_locks, asked)))


async def _locks(asked: Question) -> Locks:
    from .running.own_loop import run_awaited

    return await run_awaited(run_locks, asked, await _look(), in_caller=_in_database_thread)


async def _make(calls: Sequence[Call]) -> Outcomes[Any]:
    options = current_options()
    if options.start_method == "inline":
        from .running.inline import run_inline

        return hand_over(await _in_database_thread(run_inline, calls, options, current_backend() or "asyncio"))
    from .running.own_loop import run_awaited

    return hand_over(await run_awaited(run_race, calls, options, await _look(), in_caller=_in_database_thread))


async def run_exploration(question: Question, views: Sequence[View], in_caller: InCaller) -> Exploration:
    """As `explore.run_exploration`."""
    from .running import explore

    return await explore.run_exploration(question, views, in_caller)


async def run_locks(question: Question, views: Sequence[View], in_caller: InCaller) -> Locks:
    """As `explore.run_locks`."""
    from .running import explore

    return await explore.run_locks(question, views, in_caller)


async def run_race(calls: Sequence[Call], options: Options, views: Sequence[View], in_caller: InCaller) -> Outcomes:
    """As `race.run_race`."""
    from .running import race

    return await race.run_race(calls, options, views, in_caller)


async def _look() -> list[View]:
    """Look at the connections of this thread, and of the one in which the async ORM works."""
    if not uses_django():
        return []
    from .databases.handoff import look

    if current_backend() == "trio":  # Django has no async ORM there
        return [look()]
    with outside_loop():  # a fixture's connections are the thread's, a coroutine's are its task's
        of_thread = look()
    return [of_thread, look(), await _in_database_thread(look)]


async def _in_database_thread(function: Callable[..., T], *args: Any) -> T:
    if current_backend() == "trio":
        import anyio.to_thread

        return await anyio.to_thread.run_sync(function, *args)
    from asgiref.sync import sync_to_async

    return await sync_to_async(function)(*args)
