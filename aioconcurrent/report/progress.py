"""The line on the terminal during an exploration."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from ..base import own_clock as time

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATIENCE = 1.0  # seconds before it appears, and before it counts again what is left
Tell = Callable[[int, Callable[[], str]], None]


@contextmanager
def reporting(most: int | None) -> Iterator[Tell]:
    """Yield what is to be told how many schedules were run; it shows them once a second has passed, on a terminal.

    It is told as well how to find out what is left, and asks for that once a second.

    Args:
        most: Schedules that may be run; None to show nothing.
    """
    with ExitStack() as stack:
        is_terminal = sys.stderr is not None and sys.stderr.isatty()
        yield _Line(most, stack).tell if most is not None and is_terminal else (lambda *_: None)


class _Line:
    def __init__(self, most: int, stack: ExitStack) -> None:
        self._most = most
        self._stack = stack
        self._asked = time.monotonic()  # what is left, or that the line is there
        self._update: Callable[..., None] | None = None

    def tell(self, made: int, left: Callable[[], str]) -> None:
        is_time = time.monotonic() - self._asked >= _PATIENCE
        if self._update is None and is_time:
            self._update = self._appear()
        if self._update is not None:
            self._update(completed=made, refresh=True, **({"left": left()} if is_time else {}))
        if is_time:
            self._asked = time.monotonic()

    def _appear(self) -> Callable[..., None]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            *(TextColumn("exploring"), BarColumn(bar_width=16), MofNCompleteColumn(), TextColumn("schedules")),
            *(TextColumn("{task.fields[left]}"), TimeElapsedColumn()),
        )
        console = Console(stderr=True)
        # drawn between runs alone, so that nothing comes over the prompt of a debugger in one
        progress = Progress(*columns, console=console, transient=True, auto_refresh=False)
        self._stack.enter_context(progress)
        return partial(progress.update, progress.add_task("exploring", total=self._most, left=""))
