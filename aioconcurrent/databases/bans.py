"""What a runner of tests keeps the test itself from connecting to; it holds for the calls as well.

pytest-django blocks every connection in a test without its mark, on Django's class;
Django's `SimpleTestCase` does so on the connections.  What is blocked for some aliases
only, those that are not in the `databases` of a test, is the test's own affair: its
calls may use a mirror that it does not name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

_RUNNERS = ("pytest_django.plugin", "django.test.testcases")


def forbidden(aliases: Iterable[str], live: Collection[Any]) -> dict[str, Exception]:
    """Return the errors with which the test may not connect at this moment, by alias.

    Args:
        aliases: All there are.
        live: The connections of this thread.
    """
    from django.db.backends.base.base import BaseDatabaseWrapper

    everywhere = _error_of(BaseDatabaseWrapper.ensure_connection, "_blocking_wrapper")
    if everywhere is not None:
        return dict.fromkeys(aliases, everywhere)
    errors = {each.alias: _error_of(vars(each).get("connect"), "_DatabaseFailure") for each in live}
    found = {alias: error for alias, error in errors.items() if error is not None}
    return found if found.keys() >= set(aliases) else {}


def _error_of(method: Any, name: str) -> Exception | None:
    """What this method does nothing but raise, if a runner has put it there under that name."""
    kind = method if hasattr(method, "__name__") else type(method)
    if kind.__name__ != name or kind.__module__ not in _RUNNERS:
        return None
    return _raised_by(method)


def _raised_by(method: Callable[[], object]) -> Exception:
    try:
        method()
    except Exception as error:
        return error.with_traceback(None)
    raise AssertionError(f"{method!r} lets tests connect")
