"""The blocking API where an event loop is running in the thread, and in other threads of such a program."""

import pytest
from anyio import to_thread

from aioconcurrent import sync
from tests.project.echoes import echo


@pytest.mark.parametrize("name", ["call_concurrently", "make_concurrent_calls"])
async def test_it_says_what_to_await_instead(name: str, anyio_backend_name: str) -> None:
    arguments = {"call_concurrently": (2, echo, 1), "make_concurrent_calls": ((echo, {"value": 1}),)}[name]
    with pytest.raises(RuntimeError) as raised:
        getattr(sync, name)(*arguments)
    said = str(raised.value)
    assert f"aioconcurrent.sync.{name}() would block the {anyio_backend_name} event loop" in said
    assert f"Use `from aioconcurrent import {name}` and `await {name}(...)`." in said


async def test_it_says_so_for_calls_that_would_run_inline_too() -> None:
    with sync.options(start_method="inline"), pytest.raises(RuntimeError, match=r"await call_concurrently\(\.\.\.\)"):
        sync.call_concurrently(2, echo, 1)


async def test_bad_calls_are_named_before_that() -> None:
    with pytest.raises(ValueError, match="concurrency must be at least 1"):
        sync.call_concurrently(0, echo, 1)


async def test_in_a_thread_of_its_own_it_works() -> None:
    assert await to_thread.run_sync(sync.call_concurrently, 2, echo, 1) == [1, 1]
