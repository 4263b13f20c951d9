"""A line on the terminal while an exploration lasts."""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from .. import _clock as time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PATIENCE = 1.0  # seconds before it appears


@contextmanager
def reporting(most: int) -> Iterator[Callable[[int], None]]:
    """Yield what is to be told how many schedules were run; it shows them once a second has passed, on a terminal.

    Args:
        most: Schedules that may be run.
    """
    with ExitStack() as stack:
        yield _Line(most, stack).tell if sys.stderr is not None and sys.stderr.isatty() else (lambda _: None)


class _Line:
    def __init__(self, most: int, stack: ExitStack) -> None:
        self._most = most
        self._stack = stack
        self._begun = time.monotonic()
        self._update: Callable[[int], None] | None = None

    def tell(self, made: int) -> None:
        if self._update is None and time.monotonic() - self._begun >= _PATIENCE:
            self._update = self._appear()
        if self._update is not None:
            self._update(made)

    def _appear(self) -> Callable[[int], None]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("exploring"), BarColumn(), MofNCompleteColumn(), TextColumn("schedules at most"))
        progress = Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True)
        self._stack.enter_context(progress)
        task = progress.add_task("exploring", total=self._most)
        return lambda made: progress.update(task, completed=made)
