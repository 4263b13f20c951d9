"""Texts that are not ours, made fit to stand in ours."""

import re

_LONGEST_VALUE = 4000
# what steers a terminal, turns the direction of writing, ends a line unseen, or cannot be encoded
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with control characters as escapes; lines stay lines, and tabs tabs."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


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
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
