"""Records what an action asks of the databases, in the process of the tests themselves."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..base.trace import Operation
from ..databases.watching import hooks, tasks
from ..databases.watching.passage import Passage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..base.trace import Kind
    from ..databases.watching.passage import Tell

_MOST = 2000  # statements of one action


class Observer(Passage):
    """Lets every operation pass, and keeps those of the action that is recorded."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[Operation] | None = None
        self._is_installed = False

    def install(self) -> None:
        """Be in Django's database classes from here on; where nothing is recorded it costs a look."""
        if not self._is_installed:
            self._is_installed = True
            hooks.install(self)
            tasks.notice(self._note_task)

    def _note_task(self, name: str) -> None:
        if self._kept is not None:
            self._kept.append(Operation("enqueue", name))

    @contextmanager
    def recording(self) -> Iterator[list[Operation]]:
        """Record in a block, in whatever thread; yield the list that fills."""
        before, self._kept = self._kept, []
        try:
            yield self._kept
        finally:
            self._kept = before

    def is_closed(self) -> bool:
        return self._kept is not None and not self._is_connecting()

    def pass_through(self, operation: Operation, run: Callable[[], Any], tell: Tell | None = None) -> Any:
        return run()

    def pass_database(
        self, connection: Any, kind: Kind, sql: str, parameters: object, run: Callable[[], Any], cursor: Any = None
    ) -> Any:
        if self._kept is not None and len(self._kept) < _MOST:
            self._kept.append(self._describe(connection, kind, sql, parameters))
        return run()

    def fetched(self, cursor: Any, rows: Iterable[Any]) -> None:
        pass


observer = Observer()
