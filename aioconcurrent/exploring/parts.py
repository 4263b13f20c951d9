"""Values taken apart, down to what is compared as one.

A text falls into the numbers and tokens in it and what stands between them, a JSON
text into the values at its paths, an object into its attributes, and a response
into what of it is an answer.
"""

import json
import math
import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, time, timedelta
from enum import Enum
from numbers import Number
from typing import Any
from uuid import UUID

Position = tuple[Hashable, ...]


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


def answer(value: Any) -> Mapping[str, Any] | None:
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
