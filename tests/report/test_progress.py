"""The line that shows on a terminal while an exploration lasts."""

import os
import pty
import subprocess
import sys

import pytest

SHOW = """
import time
from aioconcurrent.report.progress import reporting
with reporting(200) as tell:
    tell(1, lambda: "never asked")
    time.sleep({seconds})
    tell(42, lambda: "17+ left with 1 preemption")
"""


def shown(seconds: float, *, on_terminal: bool = True) -> str:
    """What a program prints to stderr that explores for so long."""
    program = [sys.executable, "-c", SHOW.format(seconds=seconds)]
    if not on_terminal:
        return subprocess.run(program, check=True, capture_output=True, text=True).stderr
    terminal, end = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    with subprocess.Popen(program, stderr=end, env=environment):
        os.close(end)
    printed = b""
    try:
        while data := os.read(terminal, 4096):
            printed += data
    except OSError:  # the other end is closed
        pass
    os.close(terminal)
    return printed.decode()


def test_a_line_appears_on_a_terminal_after_a_second() -> None:
    printed = shown(1.05)
    assert "exploring" in printed
    assert "42/200" in printed
    assert "17+ left with 1 preemption" in printed
    assert "never asked" not in printed


@pytest.mark.parametrize(("seconds", "on_terminal"), [(0.0, True), (1.05, False)])
def test_nothing_is_printed_before_that_or_where_nobody_looks(seconds: float, on_terminal: bool) -> None:
    assert shown(seconds, on_terminal=on_terminal) == ""
