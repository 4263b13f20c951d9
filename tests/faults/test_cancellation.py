"""Callers that are cancelled, at whatever moment: nothing runs on, and the next race works."""

import asyncio
from functools import partial
from pathlib import Path

import anyio
import pytest

from aioconcurrent import call_concurrently, make_concurrent_calls, options
from aioconcurrent.engine.fork import close_template
from tests.faults import calls
from tests.faults.processes import left_of, signed_in, until
from tests.faults.projects import Project
from tests.project.databases import ThreadOfQueries, on
from tests.project.shop.calls import increment_atomically
from tests.project.shop.models import Counter

MOMENTS = [0.0, 0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.03]  # seconds into a race
STARTING = [0.0, 0.005, 0.02, 0.1, 0.3]  # seconds into one that first has to start something

BESIDE = """
import anyio, json
from pathlib import Path
from aioconcurrent import call_concurrently
from tests.faults import calls
from tests.faults.processes import signed_in, until

async def main():
    folder, outcomes = Path("signed-in"), []

    async def go_on():
        outcomes.extend(await call_concurrently(2, calls.wait_for_file, folder / "go"))

    async with anyio.create_task_group() as outer:
        outer.start_soon(go_on)
        async with anyio.create_task_group() as inner:
            inner.start_soon(call_concurrently, 2, calls.sign_in_and_stay, folder)
            await until(lambda: len(signed_in(folder)) == 2)
            inner.cancel_scope.cancel()
        (folder / "go").touch()
    print(json.dumps(outcomes))

anyio.run(main, backend="{backend}")
"""


async def test_a_caller_that_is_cancelled_already_starts_nothing(start_method: str, folder: Path) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await call_concurrently(2, calls.sign_in, folder)
    assert scope.cancelled_caught
    assert not signed_in(folder)


async def test_a_caller_cancelled_before_the_barrier_leaves_nothing(start_method: str, folder: Path) -> None:
    prepare = partial(calls.sign_in_and_stay, folder)
    async with anyio.create_task_group() as group:
        with options(prepare=prepare):
            group.start_soon(make_concurrent_calls, (calls.run, (folder,), {}), (calls.run, (folder,), {}))
        await until(lambda: len(signed_in(folder)) == 2)
        group.cancel_scope.cancel()
    assert not left_of(signed_in(folder))
    assert not (folder / "run").exists()


async def test_a_caller_cancelled_at_the_barrier_leaves_nothing(start_method: str, folder: Path) -> None:
    async with anyio.create_task_group() as group:
        with options(prepare=partial(calls.let_first_pass, folder)):
            group.start_soon(call_concurrently, 2, calls.run, folder)
        await until(lambda: len(signed_in(folder)) == 2)
        group.cancel_scope.cancel()
    assert not left_of(signed_in(folder))
    assert not (folder / "run").exists()


async def test_a_caller_cancelled_after_the_barrier_leaves_nothing(start_method: str, folder: Path) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(call_concurrently, 2, calls.stay_with_children, folder)
        await until(lambda: len(signed_in(folder)) == 6)
        group.cancel_scope.cancel()
    assert not left_of(signed_in(folder))


async def test_a_caller_cancelled_beside_calls_that_ignore_it_leaves_nothing(start_method: str, folder: Path) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(
            make_concurrent_calls, (calls.stay_deaf, (folder,), {}), (calls.ignore_termination, (folder,), {})
        )
        await until(lambda: len(signed_in(folder)) == 2)
        group.cancel_scope.cancel()
    assert not left_of(signed_in(folder))


async def test_a_race_can_be_bounded_by_fail_after(start_method: str, folder: Path) -> None:
    with pytest.raises(TimeoutError), anyio.fail_after(0.3):
        await call_concurrently(2, calls.sign_in_and_stay, folder)
    assert not left_of(signed_in(folder))


async def test_a_race_can_be_bounded_by_move_on_after(folder: Path) -> None:
    with anyio.move_on_after(0.2) as scope:
        await call_concurrently(2, calls.sign_in_and_stay_in_coroutine, folder)
    assert scope.cancelled_caught
    assert not left_of(signed_in(folder))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("times", [1, 3])
async def test_a_task_of_asyncio_can_be_cancelled_also_by_the_impatient(times: int, folder: Path) -> None:
    task = asyncio.ensure_future(call_concurrently(2, calls.tell_of_termination, folder))
    await until(lambda: len(signed_in(folder)) == 2)
    for number in range(times):
        task.cancel()
        if number:
            await asyncio.sleep(0)
        else:
            await until(lambda: (folder / "terminated").exists())
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not left_of(signed_in(folder))


async def test_a_race_can_be_cancelled_at_any_moment(folder: Path) -> None:
    for moment in MOMENTS:
        with options(start_method="fork"), anyio.move_on_after(moment):
            await call_concurrently(2, calls.sign_in_and_stay, folder)
    assert not left_of(signed_in(folder))


async def test_a_starting_template_can_be_cancelled_at_any_moment(folder: Path) -> None:
    for moment in STARTING:
        close_template()
        with options(start_method="fork"), anyio.move_on_after(moment):
            await call_concurrently(2, calls.sign_in_and_stay, folder)
    assert not left_of(signed_in(folder))


async def test_spawning_can_be_cancelled_at_any_moment(folder: Path) -> None:
    for moment in STARTING:
        with options(start_method="spawn"), anyio.move_on_after(moment):
            await call_concurrently(2, calls.sign_in_and_stay, folder)
    assert not left_of(signed_in(folder))


async def test_the_race_after_a_cancelled_one_works(start_method: str) -> None:
    with anyio.move_on_after(0.05):
        await call_concurrently(2, calls.sleep_for_ever)
    assert await call_concurrently(2, calls.answer) == [42, 42]


@pytest.mark.parametrize("database", on("default"))
async def test_a_database_in_memory_comes_back_from_a_cancelled_race(
    database: str, start_method: str, folder: Path, in_thread: ThreadOfQueries
) -> None:
    counter = await in_thread(Counter.objects.using(database).create, name="clicks")
    async with anyio.create_task_group() as group:
        group.start_soon(call_concurrently, 1, calls.increment_and_stay, folder, counter.pk)
        await until(lambda: len(signed_in(folder)) == 1)
        group.cancel_scope.cancel()
    assert await call_concurrently(1, increment_atomically, counter.pk) == [None]
    await in_thread(counter.refresh_from_db)
    assert counter.value == 2


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_race_beside_a_cancelled_one_goes_on(backend: str, start_method: str, tmp_path: Path) -> None:
    project = Project(tmp_path)  # which has no database in memory, that would be lent to one race at a time
    told = project.run(BESIDE.format(backend=backend))
    assert told == [True, True]
    assert not left_of(signed_in(tmp_path / "signed-in"))
