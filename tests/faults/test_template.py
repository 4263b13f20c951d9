"""The template is killed: between two races nobody notices, and within one the calls are told."""

import os
import platform
import re
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import psutil
import pytest
from anyio.abc import UNIXSocketStream

from aioconcurrent import ProcessDiedError, call_concurrently, options
from aioconcurrent.engine.attendance import GRACE
from aioconcurrent.engine.fork import _Conversation, close_template
from aioconcurrent.engine.protocol import FrameReader, Kind
from tests.faults import calls
from tests.faults.processes import at_rest, left_of, signed_in, until, wait_until


@pytest.fixture(autouse=True)
def forking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOCONCURRENT_START_METHOD", "fork")


async def get_template() -> int:
    [(_, template)] = (await call_concurrently(1, calls.get_pids)).values
    return int(template)


LARGE = """
from pathlib import Path
from aioconcurrent.engine import huge_pages
held = [str(number) for number in range(200_000)]
for piece in huge_pages.pieces():
    huge_pages.enlarge(piece)
assert held[-1] == "199999"
print(sum(int(line.split()[1]) for line in Path("/proc/self/smaps").read_text().splitlines() if "AnonHuge" in line))
"""


def test_memory_that_forks_share_is_put_into_large_pages() -> None:
    version = tuple(map(int, re.findall(r"\d+", platform.release())[:2]))
    if version < (6, 1) or not Path("/sys/kernel/mm/transparent_hugepage").exists():
        pytest.skip("Linux 6.1 and huge pages are needed")
    told = subprocess.run([sys.executable, "-c", LARGE], check=True, capture_output=True, text=True).stdout
    assert int(told) >= 2048, "KB"


async def test_one_template_serves_race_after_race() -> None:
    assert await get_template() == await get_template()


async def test_a_race_after_the_template_was_killed_just_works() -> None:
    killed = await get_template()
    calls.kill(killed)
    outcomes = await call_concurrently(2, calls.get_pids)
    outcomes.raise_errors()
    assert killed not in {template for _, template in outcomes.values}
    assert not left_of([killed])


async def test_a_template_that_was_stopped_goes_on_for_the_next_race() -> None:
    template = await get_template()
    os.kill(template, signal.SIGSTOP)
    with options(start_timeout=10):
        assert await get_template() == template


async def test_a_race_that_begins_before_the_template_has_noticed_just_works() -> None:
    for _ in range(2):
        calls.kill(await get_template())
        assert await call_concurrently(2, calls.answer) == [42, 42]


async def test_calls_whose_template_is_killed_are_told_and_leave_nothing(folder: Path) -> None:
    template = await get_template()
    async with anyio.create_task_group() as group:
        group.start_soon(kill_when_signed_in, template, folder, 6)
        outcomes = await call_concurrently(2, calls.stay_with_children, folder)
    assert len(outcomes.errors) == 2
    for number, wrapped in enumerate(outcomes.errors, 1):
        assert isinstance(wrapped.error, ProcessDiedError)
        text = str(wrapped.error)
        assert f"call {number} of 2, tests.faults.calls.stay_with_children(<PosixPath>)" in text
        assert "while running, so there is no result" in text
    assert not left_of(signed_in(folder))


async def test_no_call_begins_if_the_template_is_killed_before_the_barrier(folder: Path) -> None:
    template = await get_template()
    async with anyio.create_task_group() as group:
        group.start_soon(kill_when_signed_in, template, folder, 2)
        with options(prepare=partial(calls.let_first_pass, folder)):
            outcomes = await call_concurrently(2, calls.run, folder)
    assert len(outcomes.errors) == 2
    for number, wrapped in enumerate(outcomes.errors, 1):
        assert isinstance(wrapped.error, ProcessDiedError)
        assert f"call {number} of 2, tests.faults.calls.run(<PosixPath>)" in str(wrapped.error)
    assert not (folder / "run").exists()
    assert not left_of(signed_in(folder))


async def test_a_race_after_one_whose_template_was_killed_just_works(folder: Path) -> None:
    template = await get_template()
    async with anyio.create_task_group() as group:
        group.start_soon(kill_when_signed_in, template, folder, 1)
        assert (await call_concurrently(1, calls.sign_in_and_stay, folder)).errors
    assert await call_concurrently(2, calls.answer) == [42, 42]


async def test_a_race_takes_the_processes_that_were_forked_ahead() -> None:
    spares = await get_spares(3)
    outcomes = await call_concurrently(3, calls.get_pids)
    assert {pid for pid, _ in outcomes.values} == spares


async def test_a_race_without_the_spares_that_were_killed_just_works() -> None:
    spares = await get_spares(3)
    for pid in spares:
        calls.kill(pid)
    assert not left_of(spares)  # one that is about to die may still be given a call
    outcomes = await call_concurrently(3, calls.get_pids)
    outcomes.raise_errors()
    assert len({pid for pid, _ in outcomes.values} - spares) == 3


async def test_a_resting_template_that_is_killed_takes_its_spares_along() -> None:
    spares = await get_spares(3)
    calls.kill(get_template_of(spares))
    assert not left_of(spares)


async def get_spares(count: int) -> set[int]:
    """Have a new template rest after a race of that many calls; return what it has forked ahead."""
    close_template()
    template = (await call_concurrently(count, calls.get_pids)).values[0][1]
    spares: set[int] = set()

    def are_all() -> bool:
        spares.update(at_rest(template, lambda: {child.pid for child in psutil.Process(template).children()}))
        return len(spares) == count

    await until(are_all)
    return spares


def get_template_of(spares: set[int]) -> int:
    return psutil.Process(min(spares)).ppid()


async def kill_when_signed_in(template: int, folder: Path, expected: int) -> None:
    await until(lambda: len(signed_in(folder)) == expected)
    calls.kill(template)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_call_that_died_is_told_as_such_however_late_the_template_notices(number: signal.Signals) -> None:
    template = await get_template()

    def wake() -> None:
        assert wait_until(lambda: psutil.Process(template).status() == psutil.STATUS_STOPPED)
        time.sleep(GRACE + 0.2)  # until the caller has asked for the end of the call
        os.kill(template, signal.SIGCONT)

    async with anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, wake)
        [outcome] = await call_concurrently(1, calls.stop_parent_and_die, number)
    assert f"was killed by {number.name} while running, so there is no result" in str(outcome)


async def test_wrappers_are_asked_for_while_something_else_is_still_being_said() -> None:
    ours, theirs = socket.socketpair()
    async with await UNIXSocketStream.from_socket(ours) as link, await UNIXSocketStream.from_socket(theirs) as template:
        conversation, reader, said = _Conversation(link), FrameReader(greeting=False), list[Kind]()
        async with anyio.create_task_group() as group:
            group.start_soon(conversation.tell, Kind.LEARN, "x" * 2_000_000)  # more than fits where nobody reads
            await anyio.wait_all_tasks_blocked()
            group.start_soon(conversation.launch, 1)
            await anyio.wait_all_tasks_blocked()
            while len(said) < 2:
                data, descriptors = await template.receive_fds(65536, 8)
                for descriptor in descriptors:
                    os.close(descriptor)
                reader.feed(data)
                while (frame := reader.next_frame()) is not None:
                    said.append(frame.kind)
        await conversation.aclose()
    assert said == [Kind.LEARN, Kind.FORK]
