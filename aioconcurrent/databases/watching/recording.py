"""Records what a call does to shared data, without making it wait.

Each operation is reported when it begins and when it ends.  So if a call is killed,
everything is known except the result of its last operation.
"""

from __future__ import annotations

import threading
from dataclasses import fields, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from ...base import own_clock as time
from ...base import pickling
from ...base.sources import application_line
from ...base.trace import ROWS_KEPT, Operation, Step
from ..guard import session_id
from .passage import Passage, told_columns, told_error, told_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ...base.trace import Kind
    from .passage import Row, Tell

RECORDED = 1000  # operations of a call

# What is told: plain tuples of one of these and a number, for pickling is most of what it costs.
_FIELDS_OF = attrgetter(*(each.name for each in fields(Operation)))
_BEGAN, _ENDED, _READ, _LEFT_OUT = range(4)


class Recorder(Passage):
    """Lets every operation pass, and takes note of it."""

    def __init__(self) -> None:
        super().__init__()
        self._send: Callable[[bytes], None] | None = None
        self._counting = threading.Lock()
        self._count = 0

    def start(self, send: Callable[[bytes], None]) -> None:
        """Tell of every operation from here on."""
        self._send = send

    def stop(self) -> None:
        """Tell of no more."""
        if self._send is not None and self._count > RECORDED:
            self._tell(_LEFT_OUT, self._count - RECORDED)
        self._send = None

    def is_closed(self) -> bool:
        return self._send is not None and not self._is_connecting()

    def pass_through(self, operation: Operation, run: Callable[[], Any], tell: Tell | None = None) -> Any:
        number = self._begin(operation, None)
        value = self._run(number, run)
        self._end(number, *((None, (), ()) if tell is None else tell(value)))
        return value

    def pass_database(
        self, connection: Any, kind: Kind, sql: str, parameters: object, run: Callable[[], Any], cursor: Any = None
    ) -> Any:
        number = self._begin(self._describe(connection, kind, sql, parameters), session_id(connection))
        self._local.last, self._local.room = number, ROWS_KEPT
        value = self._run(number, run)
        self._track(connection, kind, sql)
        self._end(number, getattr(cursor, "rowcount", None))
        return value

    def fetched(self, cursor: Any, rows: Iterable[Any]) -> None:
        number, room = getattr(self._local, "last", None), getattr(self._local, "room", 0)
        if number is not None and room and self.is_closed() and (told := told_rows(rows, room)):
            self._local.room = room - len(told)
            self._tell(_READ, number, told_columns(cursor), tuple(told))

    def _begin(self, operation: Operation, session: int | None) -> int | None:
        with self._counting:
            number, self._count = self._count, self._count + 1
        if number >= RECORDED:
            return None
        self._tell(_BEGAN, number, _FIELDS_OF(operation), application_line(), session, time.monotonic())
        return number

    def _run(self, number: int | None, run: Callable[[], Any]) -> Any:
        try:
            return run()
        except Exception as error:
            self._end(number, error=told_error(error))
            raise

    def _end(
        self,
        number: int | None,
        rowcount: int | None = None,
        columns: tuple[str, ...] = (),
        rows: tuple[Row, ...] = (),
        error: str | None = None,
    ) -> None:
        if number is not None:
            self._tell(_ENDED, number, time.monotonic(), rowcount, columns, rows, error)

    def _tell(self, *news: object) -> None:
        send = self._send
        if send is not None:
            send(pickling.dumps(news))


def recorded_steps(call: int, news: Iterable[bytes]) -> tuple[tuple[Step, ...], int]:
    """The steps that the recorder of a call told of, in the order in which they began, and how many more there were."""
    steps: dict[int, Step] = {}
    left_out = 0
    for each in news:
        what, number, *more = pickling.loads(each)
        if what == _BEGAN:
            operation, source, session, started = more
            steps[number] = Step(call, Operation(*operation), source, started=started, session=session)
        elif what == _ENDED:
            ended, rowcount, columns, rows, error = more
            step = replace(steps[number], ended=ended, rowcount=rowcount, error=error)
            steps[number] = replace(step, columns=columns, rows=rows) if columns else step
        elif what == _READ:
            columns, rows = more
            steps[number] = replace(steps[number], columns=columns, rows=(*steps[number].rows, *rows))
        else:
            left_out = number
    return tuple(steps.values()), left_out


recorder = Recorder()
