"""Values that a driver, or Django, cannot load: they come as the text that the server has for them.

`infinity` and dates before Christ on PostgreSQL, times of more than 24 hours on MariaDB,
texts that are no UTF-8: whoever compares rows has to read them, whatever the application does.
A value that is not equal to itself, as NaN is, would be a change in every row that has it.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

# Numbers of types in src/include/catalog/pg_type.dat: texts, and times with their arrays.
_TEXTS = (19, 25, 1042, 1043)
_TIMES = {1082: 1182, 1083: 1183, 1114: 1115, 1184: 1185, 1186: 1187, 1266: 1270}
_MYSQL_TIMES = (7, 10, 11, 12)  # TIMESTAMP, DATE, TIME and DATETIME in the protocol


def load_from_postgresql(cursor: Any) -> None:
    """Let this cursor of either driver load every value."""
    if hasattr(cursor, "adapters"):
        _in_psycopg(cursor)
    else:
        _in_psycopg2(cursor)


def load_from_mysql(connection: Any) -> None:
    """Let this connection load every value; drivers keep functions by the number of a type, Django's among them."""
    converters: dict[int, Any] = connection.decoders if hasattr(connection, "decoders") else connection.converter
    for kind in _MYSQL_TIMES:
        if callable(converters.get(kind)):
            converters[kind] = partial(_converted, converters[kind])


def decoded(text: bytes) -> str:
    """The text; bytes that are no UTF-8 are told as escapes."""
    return text.decode(errors="backslashreplace")


def plain(value: object) -> object:
    """The value itself, or its text where it is not equal to itself."""
    return str(value) if value != value else value  # noqa: PLR0124 - that is how NaN shows


def _in_psycopg(cursor: Any) -> None:
    from psycopg.adapt import Loader
    from psycopg.pq import Format

    def lenient(strict: type[Any]) -> type[Loader]:
        class Lenient(Loader):
            def __init__(self, oid: int, context: Any = None) -> None:
                super().__init__(oid, context)
                self._strict = strict(oid, context)

            def load(self, data: Any) -> Any:
                try:
                    return self._strict.load(data)
                except Exception:  # whatever keeps it from being one of Python's
                    return decoded(bytes(data))

        return Lenient

    for oid in (*_TEXTS, *_TIMES):
        cursor.adapters.register_loader(oid, lenient(cursor.adapters.get_loader(oid, Format.TEXT)))


def _in_psycopg2(cursor: Any) -> None:
    psycopg2 = import_module("psycopg2.extensions")
    for oid, array in _TIMES.items():
        kind = psycopg2.new_type((oid,), f"LENIENT{oid}", partial(_cast, psycopg2.string_types[oid]))
        psycopg2.register_type(kind, cursor)
        psycopg2.register_type(psycopg2.new_array_type((array,), f"LENIENT{array}", kind), cursor)


def _cast(strict: Callable[[Any, Any], Any], text: str | None, cursor: Any) -> Any:
    try:
        return strict(text, cursor)
    except Exception:  # as above
        return text


def _converted(strict: Callable[[Any], Any], value: Any) -> Any:
    text = decoded(value) if isinstance(value, bytes) else value
    try:
        found = strict(value)
    except Exception:  # as above
        return text
    return text if found is None else found  # MySQLdb takes a date that is none for NULL
