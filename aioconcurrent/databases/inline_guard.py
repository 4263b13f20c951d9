"""The guard of real databases for calls that run in the test's own process."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .. import _pickling
from ..exceptions import NotATestDatabaseError
from .handoff import is_in_memory, look, test_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def guarding_cursors(blame: Callable[[bytes], None]) -> Iterator[None]:
    """Refuse connections and cursors of anything but test databases in the block.

    Connections may be open already, for they are the caller's.

    Args:
        blame: Takes each refusal, as `dump_error` makes it: the application may keep the error to itself.
    """
    from django.db.backends.base.base import BaseDatabaseWrapper

    kind: Any = BaseDatabaseWrapper
    allowed = test_names(look().settings)

    def refusing(method: Any) -> Any:
        def refuse_or_call(connection: Any, *args: Any, **kwargs: Any) -> Any:
            name = str(connection.settings_dict["NAME"])
            if name not in allowed and not is_in_memory(connection.settings_dict):
                refusal = NotATestDatabaseError(connection.alias, name)
                blame(_pickling.dump_error(refusal))
                raise refusal
            return method(connection, *args, **kwargs)

        return refuse_or_call

    before = kind.connect, kind._cursor
    kind.connect, kind._cursor = map(refusing, before)
    try:
        yield
    finally:
        kind.connect, kind._cursor = before
