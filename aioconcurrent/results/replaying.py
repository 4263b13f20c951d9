"""Orders that go wrong in a test: how to run one again, and which one failed the last time."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


@dataclass
class Orders:
    """What a runner knows of the orders of the test that runs.

    Attributes:
        line: Makes of a token the line that runs its order again in this test.
        wrong: The tokens of those that go wrong, by the number of the exploration in the test, counted from 0.
    """

    line: Callable[[str], str]
    wrong: dict[int, str] = field(default_factory=dict)
    _begun: int = 0

    def number(self) -> int:
        """Of the exploration that begins now."""
        self._begun += 1
        return self._begun - 1

    def keep(self, number: int, token: str | None) -> None:
        """Keep the order of an exploration that goes wrong; None if none does."""
        if token is None:
            self.wrong.pop(number, None)
        else:
            self.wrong[number] = token


_of_test: Orders | None = None


def let_keep(orders: Orders | None) -> None:
    """Let a runner of tests keep the orders of a test from now on; None ends that."""
    global _of_test
    _of_test = orders


def orders_of_test() -> Orders | None:
    """Those of the test that runs, if its runner keeps them."""
    return _of_test


def replay_line(token: str) -> str:
    """Return the line that runs an order again in the test that runs; empty if nobody knows."""
    if _of_test is not None:
        return _of_test.line(token)
    test = test_of_django(sys._getframe(1))
    return f"AIOCONCURRENT_REPLAY={shlex.quote(token)} python manage.py test {test}" if test else ""


def test_of_django(frame: FrameType | None) -> str:
    """The id of the test of Django's that a frame runs in; empty if there is none."""
    cases = sys.modules.get("django.test.testcases")
    while cases is not None and frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, cases.SimpleTestCase):
            return owner.id()  # type: ignore[no-any-return]
        frame = frame.f_back
    return ""
