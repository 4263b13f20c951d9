"""The starting rows of a database, kept by two sessions of its server, either of which can put them back.

The server may end a session at any time, by a limit, by an administrator or by a proxy, and
its copies are then lost.  The other session takes over, and a new one is made as soon as
the rows are those of the start again.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ..sessions import tells_of_end
from . import State, StateError, open_state
from .base import NO_CHANGES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from ..schema import Catalogue, Changes, Key
    from . import Advance, Row
    from .base import Keys

T = TypeVar("T")

_TRIES = 3


class Standby:
    """As one `State`, made of two where there are sessions.

    Call its methods in a thread without a running event loop.
    """

    def __init__(self, alias: str, settings: Mapping[str, Any]) -> None:
        self._alias = alias
        self._open: Callable[[], State] = partial(open_state, alias, settings)
        self._begins: Mapping[str, int] = {}  # of the counters, as they are to be now
        self._remarks: dict[str, None] = {}
        self._state = lasting(self._open)
        self._spare: State | None = None
        self._has_sessions = "sqlite" not in settings["ENGINE"]
        if self._has_sessions:
            try:
                self._spare = lasting(self._open)
            except BaseException:
                self._state.close()
                raise

    @property
    def catalogue(self) -> Catalogue:
        return self._state.catalogue

    @property
    def keys(self) -> Mapping[str, Key]:
        return self._state.keys

    @property
    def remarks(self) -> list[str]:
        self._remarks |= dict.fromkeys(self._state.remarks)
        return list(self._remarks)

    def check(self, tables: Collection[str] | None = None) -> None:
        self._ask(lambda state: state.check(tables))

    def is_kept(self, tables: Collection[str] | None = None) -> bool:
        return self._ask(lambda state: state.is_kept(tables)) and (self._spare is None or self._spare.is_kept(tables))

    def keep(self, tables: Collection[str] | None = None) -> None:
        self._ask(lambda state: state.keep(tables))
        if self._spare is not None and not self._spare.is_lost():
            self._spare.keep(tables)

    def start_rows(self, tables: Collection[str] | None = None) -> dict[str, list[Row]]:
        return self._ask(lambda state: state.start_rows(tables))

    def rows(self, tables: Collection[str]) -> dict[str, list[Row]]:
        return self._ask(lambda state: state.rows(tables))

    def changed(self, *, large: bool = True) -> frozenset[str]:
        return self._ask(lambda state: state.changed(large=large))

    def adopt(self, table: str, columns: Sequence[str], keys: Keys, others: Keys) -> None:
        self._ask(lambda state: state.adopt(table, columns, keys, others))
        if self._spare is not None and not self._spare.is_lost():
            self._spare.adopt(table, columns, keys, others)

    def advances(self) -> list[Advance]:
        return self._ask(lambda state: state.advances())

    def move_counters(self, begins: Mapping[str, int]) -> None:
        self._begins = begins
        self._ask(lambda state: state.move_counters(begins))

    def pick(self, table: str, keys: Collection[tuple[int | str, ...]]) -> tuple[list[Row], int] | None:
        return self._ask(lambda state: state.pick(table, keys))

    def moves(self, table: str) -> bool:
        return self._ask(lambda state: state.moves(table))

    def restore(self, tables: Collection[str] | None = None, changes: Mapping[str, Changes] = NO_CHANGES) -> None:
        """As `State.restore`; afterwards there are two again."""
        self._ask(lambda state: state.restore(tables, changes))
        if self._spare is not None and self._spare.is_lost():
            _discard(self._spare)
            self._spare = None
        if self._has_sessions and self._spare is None:
            self._ask(self._make_spare)

    def _make_spare(self, state: State) -> None:
        state.restore()
        state.move_counters({})
        self._spare = lasting(self._open)
        state.move_counters(self._begins)

    def _ask(self, question: Callable[[State], T]) -> T:
        """Have a state do something; where its session has ended, the other one."""
        try:
            return question(self._state)
        except Exception as error:
            if not self._state.is_lost():
                raise
            self._take_over(error)
        return question(self._state)

    def _take_over(self, error: Exception) -> None:
        if self._spare is None or self._spare.is_lost():
            raise StateError(
                self._alias,
                "the server has ended all sessions that kept the starting rows, so they cannot be put back. "
                "Create the test database again.",
            ) from error
        self._remarks |= dict.fromkeys(self._state.remarks)
        _discard(self._state)
        self._state, self._spare = self._spare, None
        self._state.move_counters(self._begins)

    def close(self) -> None:
        """As `State.close`."""
        for state in filter(None, (self._state, self._spare)):
            _discard(state)


def _discard(state: State) -> None:
    with suppress(Exception):  # its session has ended
        state.close()


def lasting(opens: Callable[[], T]) -> T:
    """Open something on a server, again where the server ends its session while it is opened."""
    for _ in range(_TRIES - 1):
        try:
            return opens()
        except Exception as error:
            if not tells_of_end(error):
                raise
    return opens()
