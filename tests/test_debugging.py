"""`breakpoint()` in calls, at a terminal and without one."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import anyio
import pytest

from aioconcurrent import NoTerminalError
from aioconcurrent.engine.debugging import Pauses
from aioconcurrent.sync import call_concurrently
from tests.project.scripts import ROOT

pytest_plugins = ["tests.project.start_methods"]

HUMAN = 2.0  # seconds that somebody looks at a prompt, which is longer than a call may take
PROMPT = "(Pdb) "
TESTS = """
from aioconcurrent.sync import WrappedError, make_concurrent_calls, options


def sell(seats):
    sold = seats * 6
    breakpoint()
    return sold


@options(timeout=1)
def test_sale():
    print("outcomes:", list(make_concurrent_calls((sell, {"seats": 7}), (sell, {"seats": 8}))))
"""


ORDER = """
from aioconcurrent.sync import replay, step


def sell(seats):
    step("look")
    breakpoint()
    step("sell")


def test_sale():
    print("verdict:", replay("aioc1:0.1*2.0", (sell, {"seats": 7}), (sell, {"seats": 8})).verdict)
"""


class Terminal:
    """A run of pytest at a terminal."""

    def __init__(self, folder: Path, *options: str, tests: str = TESTS, **variables: str) -> None:
        self._ours, theirs = pty.openpty()
        self.said = ""
        (folder / "test_sale.py").write_text(tests)
        plugins = ["-p", "no:django", "-p", "no:anyio", "-p", "no:cacheprovider"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, *plugins, "test_sale.py"],
            cwd=folder,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "", "PYTHONPATH": str(ROOT), "TERM": "dumb", **variables},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)

    def type(self, text: str) -> None:
        os.write(self._ours, f"{text}\n".encode())

    def listen(self, until: str | None, seconds: float = 60) -> str:
        """Return what is said next, up to that text; with None all that is said in that time, or to the end."""
        deadline, start = time.monotonic() + seconds, len(self.said)
        while until is None or until not in self.said[start:]:
            ready, _, _ = select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                assert until is None, f"no {until!r} in:\n{self.said}"
                break
            try:
                self.said += os.read(self._ours, 65536).decode().replace("\r\n", "\n")
            except OSError:  # nobody holds the other end any more
                assert until is None, f"no {until!r} in:\n{self.said}"
                break
        return self.said[start:]

    def wait(self) -> int:
        """Wait for the end, and return the exit status."""
        self.listen(None)
        return self._process.wait(60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)


@pytest.fixture(scope="module", params=["fork", "spawn"])
def session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What pytest said in `-s`: up to the first prompt, then while nobody typed, and after each line typed."""
    folder = tmp_path_factory.mktemp("sale")
    with Terminal(folder, "-s", "-q", AIOCONCURRENT_START_METHOD=request.param) as terminal:
        said = [terminal.listen(PROMPT), terminal.listen(None, HUMAN)]
        for typed, answer in (("p seats, sold", PROMPT), ("c", PROMPT), ("c", "passed")):
            terminal.type(typed)
            said.append(terminal.listen(answer))
        assert terminal.wait() == 0, terminal.said
    return said


def test_a_call_stops_at_its_line(session: list[str]) -> None:
    stopped = session[0] + session[1]
    assert re.search(r"call \d of 2, test_sale\.sell\(seats=\d\) \(process \d+\) has stopped", stopped)
    assert "in sell()" in stopped or "sell()\n-> " in stopped
    assert "debugging.py" not in stopped


def test_what_is_typed_is_answered(session: list[str]) -> None:
    assert "(7, 42)" in session[2] or "(8, 48)" in session[2]


def test_one_call_at_a_time_has_the_terminal(session: list[str]) -> None:
    before, after = session[0] + session[1] + session[2], session[3]
    assert before.count("has stopped") == after.count("has stopped") == 1


def test_time_at_a_prompt_is_no_time_of_the_call(session: list[str]) -> None:
    assert "outcomes: [42, 48]" in session[4]


def test_a_replay_stops_once_a_call_and_says_where_in_the_order(tmp_path: Path) -> None:
    with Terminal(tmp_path, "-s", "-q", tests=ORDER) as terminal:
        for number, seats in ((1, 7), (2, 8)):
            said = terminal.listen(PROMPT)
            assert re.search(
                rf"sell\(seats={seats}\) \(process \d+\) has stopped after step {number} of the order", said
            )
            terminal.type("c")
        terminal.listen("verdict:")
        assert terminal.wait() == 0, terminal.said
    assert terminal.said.count("has stopped") == 2
    assert "exploring" not in terminal.said, "a bar"


async def test_limits_go_on_where_they_stopped_when_nobody_is_at_a_prompt_any_more() -> None:
    pauses = Pauses()
    with anyio.fail_after(60), anyio.move_on_after(0.05) as limit:
        pauses.watch(limit)
        pauses.pause("call 1")
        pauses.pause("call 2")
        pauses.resume("call 1")
        await anyio.sleep(0.1)
        pauses.resume("call 2")
        left = limit.deadline - anyio.current_time()
        await anyio.sleep_forever()
    assert 0 < left <= 0.05
    assert limit.cancelled_caught


def test_without_a_terminal_the_text_says_what_to_do(start_method: str) -> None:
    def sell() -> None:
        breakpoint()  # noqa: T100 - it is meant

    with pytest.raises(NoTerminalError, match="Run pytest with -s") as caught:
        call_concurrently(1, sell)
    assert 'options(start_method="inline")' in str(caught.value)


def test_without_a_terminal_a_call_cannot_keep_it_to_itself() -> None:
    def sell() -> bool:
        try:
            breakpoint()  # noqa: T100 - it is meant
        except Exception:
            return False
        return True

    with pytest.raises(NoTerminalError):
        call_concurrently(2, sell)
