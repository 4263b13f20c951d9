"""A call as it would be after a change to it: in one transaction, and with a read that locks its rows."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence


def in_one_transaction(
    function: Callable[..., Any] | str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    aliases: Collection[str],
    locking: str,
) -> Any:
    """Make a call inside `atomic()`.

    Args:
        function: Itself, or its name.
        args: Of the call.
        kwargs: Of the call.
        aliases: Of the databases on which there is a transaction.
        locking: The text of the query that is to lock the rows that it reads, if one is.
    """
    from django.db import transaction

    from ..engine.wrapper import import_target

    target = import_target(function) if isinstance(function, str) else function
    with ExitStack() as stack:
        if locking:
            stack.enter_context(_locked(locking))
        for alias in aliases:
            stack.enter_context(transaction.atomic(alias))
        return target(*args, **kwargs)


@contextmanager
def _locked(text: str) -> Iterator[None]:
    """Have a query say FOR UPDATE, before whoever steps it sees it."""
    from django.db.backends.utils import CursorWrapper

    execute: Any = CursorWrapper.execute

    def locking_execute(self: Any, sql: Any, params: Any = None) -> Any:
        return execute(self, f"{sql} FOR UPDATE" if str(sql) == text else sql, params)

    CursorWrapper.execute = locking_execute  # type: ignore[method-assign]
    try:
        yield
    finally:
        CursorWrapper.execute = execute  # type: ignore[method-assign]
