"""Values as databases compare them, whatever type a driver or a parameter gives them."""

import ast
import json
import re
from collections.abc import Hashable
from datetime import UTC, date, datetime
from decimal import Decimal

_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?")
_TIME = re.compile(r"\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d.*)?")
_ADAPTED_JSON = re.compile(r"Jsonb?\((.*)\)", re.DOTALL)  # how psycopg's wrapper of a parameter shows itself


def alike(one: object, other: object) -> bool:
    """Tell whether a column would hold the same with either: 0 and '0.00', True and 1, a time in two zones."""
    if one is None or other is None:
        return one is other
    if one == other:
        return True
    return any((first := read(one)) is not None and first == read(other) for read in (as_number, as_time, _as_data))


def as_number(value: object) -> Decimal | None:
    """The number that a value is or writes."""
    if isinstance(value, int | float | Decimal):
        return Decimal(str(int(value) if isinstance(value, bool) else value))
    return Decimal(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else None


def as_time(value: object) -> datetime | None:
    """The moment, or the beginning of the day, that a value is or writes."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001 - compared with others that have no zone
    if isinstance(value, str) and _TIME.fullmatch(value):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value


def readable(value: object) -> object:
    """A value without the wrapper in which a driver takes it."""
    adapted = _ADAPTED_JSON.fullmatch(value) if isinstance(value, str) else None
    return adapted[1] if adapted else value


def _as_data(value: object) -> Hashable:
    """JSON, as a text that is the same for the same data."""
    if not isinstance(value, str):
        return None
    try:
        adapted = _ADAPTED_JSON.fullmatch(value)
        data = ast.literal_eval(adapted[1]) if adapted else json.loads(value)
    except (ValueError, SyntaxError, RecursionError):
        return None
    return json.dumps(data, sort_keys=True, default=str) if isinstance(data, dict | list) else None
