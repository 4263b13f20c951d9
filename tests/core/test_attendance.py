"""The engine's dealings with one wrapper, which is a stand-in here."""

import signal
from collections.abc import Sequence

import anyio
import pytest

from aioconcurrent.base import pickling
from aioconcurrent.engine.attendance import Attendance
from aioconcurrent.engine.protocol import GREETING, Frame, Kind
from aioconcurrent.engine.wrapper import Result

RESULT = Result(pickling.dumps("sold"), None, "running", 1.0, 2.0)


class Silent:
    """A wrapper whose stream says nothing to the event loop, and all to who takes what is there."""

    pid: int | None = 1
    problem = ""
    source: int | None = 3

    def __init__(self, *said: Frame) -> None:
        self._said = [GREETING, *(frame.encode() for frame in said)]
        self.heard = anyio.Event()

    def receive_at_once(self) -> bytes:
        return self._said.pop(0) if self._said else b""

    async def receive(self) -> bytes:
        self.heard.set()
        await anyio.sleep_forever()
        raise AssertionError

    async def send(self, data: bytes) -> None:
        """Whatever it is."""

    async def read_output(self) -> bytes:
        return b""

    def rest_of_output(self) -> bytes:
        return b""

    async def wait(self) -> int | None:
        return 0

    async def kill(self, number: signal.Signals) -> None:
        raise AssertionError("it ends by itself")

    async def learn(self, modules: Sequence[str]) -> None:
        """Nothing is learnt."""

    async def aclose(self) -> None:
        """Nothing is there."""


async def attended(wrapper: Silent) -> tuple[Attendance, list[bytes | None]]:
    """See a wrapper through, all of which is heard at once."""
    asked: list[bytes | None] = []
    attendance = Attendance(wrapper, asked.append)
    with anyio.fail_after(30):  # it would wait for the stream for ever
        async with anyio.create_task_group() as group:
            group.start_soon(attendance.run, b"call")
            await wrapper.heard.wait()
            while attendance.hear_at_once():
                pass
            assert attendance.source is None
    return attendance, asked


async def test_a_result_that_was_heard_at_once_ends_the_conversation() -> None:
    attendance, asked = await attended(Silent(Frame(Kind.ASK, b"may I?"), Frame(Kind.RESULT, pickling.dumps(RESULT))))
    assert attendance.report.result == RESULT
    assert (attendance.report.timed_out, attendance.report.silence, attendance.report.exit_status) == (False, "", 0)
    assert asked == [b"may I?", None]


@pytest.mark.parametrize("frame", [Frame(Kind.FORKED), Frame(Kind.RESULT, b"no pickle")])
async def test_nonsense_that_was_heard_at_once_ends_the_conversation(frame: Frame) -> None:
    attendance, asked = await attended(Silent(frame))
    assert attendance.report.result is None
    assert asked == [None]
