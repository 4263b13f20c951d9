"""Values: taken apart, compared whatever type a driver gives them, and written for people.

A text is taken apart into numbers, tokens and the text between them, a JSON text into the values
at its paths, an object into its attributes, and a response into the parts that count as an answer.
"""

import ast
import json
import math
import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from numbers import Number
from typing import Any
from uuid import UUID

Position = tuple[Hashable, ...]
Cells = Mapping[str, Hashable]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value and where it stands; `part` counts within a text, where every second one is a number or a token."""

    position: Position
    value: Hashable
    part: int = 0


@dataclass(frozen=True, slots=True)
class Size:
    """How many parts a value has."""

    kind: str
    parts: int


@dataclass(frozen=True, slots=True)
class Ref:
    """The key of a row that was made during the run; or, of the table `CHANCE`, a value that only equals itself."""

    table: str
    key: Hashable


@dataclass(frozen=True, slots=True)
class Some:
    """A value of which nothing but its type can be compared."""

    kind: str


class Absent(Enum):
    """Stands for a value that is not there."""

    ABSENT = "nothing"

    def __str__(self) -> str:
        return self.value


ABSENT = Absent.ABSENT
CHANCE = "made by chance"  # no table's name

_TOKEN = re.compile(
    r"([0-9a-fA-F]{8}(?:-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}"  # a UUID
    r"|\d{4}-\d\d-\d\d(?!\d)(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d(?::?\d\d)?)?)?"  # a time or a date
    r"|(?<!\d)\d\d:\d\d:\d\d(?:\.\d+)?(?!\d)"  # a time of day
    r"|(?<![0-9A-Za-z])(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[0-9A-Za-z]{16,}(?![0-9A-Za-z])"  # a digest, a key
    r"|\d+(?:\.\d+)?)"
)
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]+")
_UUID_DIGITS = 32
_NO_EVIDENCE = {"content-length", "etag", "date", "expires", "last-modified", "set-cookie", "location"}
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?")
_TIME = re.compile(r"\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d.*)?")
_ADAPTED_JSON = re.compile(r"Jsonb?\((.*)\)", re.DOTALL)  # how psycopg's wrapper of a parameter shows itself
_LONGEST = 19  # digits of a number that may be a key, and one more
_COLUMNS_SHOWN = 5
_KEPT_BEFORE = 15  # characters of what two long values have in common, before they differ


def leaves(position: Position, value: Any, *, whole: bool = False) -> Iterator[Leaf]:
    """Take a value apart that has no attributes.

    Args:
        whole: Leave texts in one piece.
    """
    data = parsed(value)
    if isinstance(data, Mapping):
        yield Leaf(position, Size("mapping", len(data)))
        for name in sorted(data, key=str):
            yield from leaves((*position, name), data[name], whole=whole)
    elif isinstance(data, list | tuple):
        yield Leaf(position, Size("list", len(data)))
        for index, inner in enumerate(data):
            yield from leaves((*position, index), inner, whole=whole)
    elif isinstance(data, str) and not whole:
        for part, text in enumerate(_TOKEN.split(data)):
            yield Leaf(position, text, part)
    else:
        yield Leaf(position, scalar(data))


def parsed(value: Any) -> Any:
    """The data that a JSON text writes; any other value as it is."""
    if isinstance(value, str) and value[:1] in ("{", "[") and value.rstrip()[-1:] in ("}", "]"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def as_key(value: object) -> Hashable:
    """Put one form for all in which a key may appear: a UUID is also a text, a number in a text is a number."""
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, str):
        digits = value.replace("-", "").lower()
        if len(digits) == _UUID_DIGITS and _TOKEN.fullmatch(value):
            return digits
        return int(value) if value.isdecimal() and str(int(value)) == value else value
    return scalar(value)


def scalar(value: Any) -> Hashable:
    """A value without parts, as something that equals only what it should."""
    if isinstance(value, float) and math.isnan(value):  # it does not equal itself
        return ("float", "nan")
    if value is None or isinstance(value, str | bytes | Number | date | time | timedelta | UUID | Enum):
        return value
    if type(value).__name__ == "__proxy__":  # Django's lazy texts
        return str(value)
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    return (type(value).__qualname__, without_addresses(repr(value)))


def without_addresses(text: str) -> str:
    """The text less where objects were in memory."""
    return _ADDRESS.sub("0x", text)


def attributes(value: Any) -> Mapping[str, Any] | None:
    """What an object of some class of the project consists of; None if it has no parts."""
    if scalar(value) is value or type(value).__name__ == "__proxy__":
        return None
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name, None) for each in fields(value)}
    if isinstance(value, type) or callable(value):
        return None
    return getattr(value, "__dict__", None)


def response_parts(value: Any) -> Mapping[str, Any] | None:
    """What is compared of a response, less what follows from the rest of it or from the time; None if it is none."""
    if not all(hasattr(value, name) for name in ("status_code", "headers", "content")):
        return None
    headers = {str(name).lower(): text for name, text in value.headers.items()}
    found = {"status_code": value.status_code, **_content(value)}
    if "location" in headers:
        found["location"] = headers["location"]
    found["headers"] = {name: text for name, text in headers.items() if name not in _NO_EVIDENCE}
    found["cookies"] = {
        name: getattr(morsel, "value", morsel)
        for name, morsel in getattr(value, "cookies", {}).items()
        if name not in _token_cookies()
    }
    return found


def _token_cookies() -> set[str]:
    """The cookies that hold a token for a session or a form."""
    from django.conf import settings

    return {settings.CSRF_COOKIE_NAME, settings.SESSION_COOKIE_NAME} if settings.configured else set()


def _content(response: Any) -> dict[str, Any]:
    try:
        text = bytes(response.content).decode(getattr(response, "charset", None) or "utf-8")
    except (UnicodeDecodeError, LookupError):
        return {"content": bytes(response.content)}
    data = parsed(text)
    return {"content": text} if data is text else {"json": data}


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


def whole_number(value: object) -> int | None:
    """The whole number that a value is or writes, also with zeros before it."""
    if isinstance(value, str):
        return int(value) if value.isdecimal() and len(value) < _LONGEST else None
    if isinstance(value, Decimal):
        return int(value) if value.is_finite() and value == int(value) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def show(value: object, beside: object = ABSENT, limit: int = 60) -> str:
    """A value as texts show it; beside another one, of a long value the part in which they differ."""
    match value:
        case Mapping():
            return ", ".join(f"{name}={show(inner, limit=limit)}" for name, inner in value.items())
        case Ref():
            return str(value.key)
        case Some():
            return f"some {value.kind}"
        case Size():
            return f"a {value.kind} of {value.parts}"
    text = _plain(value)
    if len(text) <= limit:
        return text
    other = _plain(beside)
    common = next((i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), min(len(text), len(other)))
    start = common - _KEPT_BEFORE
    if start <= 3 or common == len(text) or beside is ABSENT:
        return f"{text[: limit - 3]}..."
    end = start + limit - 6
    return f"...{text[start:end]}..." if end < len(text) else f"...{text[start:]}"


def _plain(value: object) -> str:
    match value:
        case Absent() | Decimal():
            return str(value)
        case date() | time():
            return repr(str(value))
    return repr(value)


def show_row(row: object) -> str:
    """The first columns of a row, less its times."""
    if not isinstance(row, Mapping):
        return show(row)
    told = {name: value for name, value in row.items() if as_time(value) is None} or row
    cut = ", ..." if len(told) > _COLUMNS_SHOWN else ""
    return show(dict(list(told.items())[:_COLUMNS_SHOWN])) + cut


def path_named(path: Position) -> str:
    """A path into a value, as Python would have it."""
    return "".join(f"[{each!r}]" if isinstance(each, int) else f".{each}" for each in path).lstrip(".")
