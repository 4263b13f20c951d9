"""Texts for people: foreign text made safe to show, and suggestions for mistyped names."""

from __future__ import annotations

import functools
import inspect
import re
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

F = TypeVar("F", bound="Callable[..., Any]")


_LONGEST_VALUE = 4000
# what steers a terminal, turns the direction of writing, ends a line unseen, or cannot be encoded;
# compiled when it is used, for every run of pytest loads this module
_CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"


def printable(text: str) -> str:
    """The text with control characters as escapes; lines stay lines, and tabs tabs."""
    return re.sub(_CONTROL, lambda match: match[0].encode("unicode_escape").decode(), text)


def text_of(error: BaseException) -> str:
    """The error's text as it is; some have none that can be had."""
    try:
        return str(error)
    except BaseException as problem:
        return f"<no text: its __str__ raised {type(problem).__qualname__}>"


def shown(value: object, longest: int = _LONGEST_VALUE) -> str:
    """The `repr` of any value, at most that long, and whatever its class does when asked for one."""
    try:
        text = repr(value)
    except Exception as error:  # a picture of a failure must not fail for the sake of one value in it
        text = f"<{type(value).__name__} whose repr() raises {type(error).__name__}>"
    return clipped(text, longest)


def clipped(text: str, longest: int) -> str:
    """The text, at most that long."""
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def error_named(error: BaseException, longest: int | None = None) -> str:
    """The class of an error, and the first line of what it says, at most that long."""
    said = text_of(error).strip().splitlines()[:1]
    return ": ".join([type(error).__name__, *(line if longest is None else clipped(line, longest) for line in said)])


class Verbatim:
    """Stands for a value by its text, which is its `repr`."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def counted(number: int, what: str) -> str:
    """A number of things, as people say it."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def naming_unknown(advice: str = "") -> Callable[[F], F]:
    """Decorate a function so that its error for a keyword that it has not says which was meant, and the advice."""

    def decorate(function: F) -> F:
        parameters = inspect.signature(function).parameters.values()
        known = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
        shown = function.__qualname__.removesuffix(".__init__")

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            for name in kwargs:
                if name not in known:
                    text = f"{shown}() got an unexpected keyword argument {name!r}{meant(name, known)}. {advice}"
                    raise TypeError(text.rstrip())
            return function(*args, **kwargs)

        return run  # type: ignore[return-value]

    return decorate


def meant(name: str, known: Iterable[str]) -> str:
    """Ask whether a name that is known was meant, if one is like it."""
    import difflib  # costly for what is only needed when something is misspelt

    found = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""
