"""The awaitable functions in a test that is no coroutine, and where they are awaited all the same."""

import asyncio
import inspect
import operator
import os
from collections.abc import Callable
from typing import Any

import anyio
import pytest
import trio
from asgiref.sync import async_to_sync

import aioconcurrent
from aioconcurrent import UnreadResultWarning, call_concurrently, explore, make_concurrent_calls

SAID = r"^explore\(\.\.\.\) of aioconcurrent has to be awaited.* `from aioconcurrent\.sync import explore`"


@pytest.fixture
def unawaited() -> Any:
    """What `explore` gives where no event loop is."""
    return explore(os.getpid, os.getpid)


@pytest.mark.parametrize("use", [lambda it: it.assert_no_race(), lambda it: it.verdict], ids=["method", "attribute"])
def test_its_attributes_say_what_to_write(unawaited: Any, use: Callable[[Any], object]) -> None:
    with pytest.raises(AttributeError, match=SAID):
        use(unawaited)


@pytest.mark.parametrize("use", [bool, len, list, operator.itemgetter(0), lambda it: 1 in it])
def test_what_cannot_be_done_with_it_says_what_to_write(unawaited: Any, use: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match=SAID):
        use(unawaited)


def test_its_repr_says_what_to_write(unawaited: Any) -> None:
    assert "`from aioconcurrent.sync import explore`, or `async def` and `await explore(...)`" in repr(unawaited)
    unawaited.close()


def drop() -> None:
    _ = explore(os.getpid, os.getpid)


def test_one_that_is_dropped_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioconcurrent.results.unread._watch", None)  # as without our plugin of pytest
    with pytest.warns(UnreadResultWarning, match=SAID), pytest.warns(RuntimeWarning, match="was never awaited"):
        drop()


RUNS: dict[str, Callable[[], Any]] = {
    "asyncio.run": lambda: asyncio.run(call_concurrently(2, max, 1, 2)),
    "run_until_complete": lambda: _run_until_complete(),
    "anyio.run": lambda: anyio.run(make_concurrent_calls, (max, (1, 2)), (max, (1, 2))),
    "trio.run": lambda: trio.run(make_concurrent_calls, (max, (1, 2)), (max, (1, 2))),
    "async_to_sync": lambda: async_to_sync(make_concurrent_calls)((max, (1, 2)), (max, (1, 2))),
}


def _run_until_complete() -> Any:
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(call_concurrently(2, max, 1, 2))
    finally:
        loop.close()


@pytest.mark.parametrize("way", RUNS)
def test_whatever_runs_coroutines_runs_it(way: str) -> None:
    assert RUNS[way]() == [2, 2]


async def test_in_an_event_loop_it_is_a_coroutine() -> None:
    coroutine = call_concurrently(2, max, 1, 2)
    assert inspect.iscoroutine(coroutine)
    assert await coroutine == [2, 2]


@pytest.mark.parametrize("name", ["call_concurrently", "make_concurrent_calls", "explore", "replay"])
def test_the_functions_pass_for_coroutine_functions(name: str) -> None:
    function = getattr(aioconcurrent, name)
    assert inspect.iscoroutinefunction(function)
    assert asyncio.iscoroutinefunction(function)
    assert function.__doc__
    assert inspect.signature(function).return_annotation
