"""Values of a project, and texts with such values in them, made fit to be shown."""

import re

_LONGEST_VALUE = 4000
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(value: object, longest: int = _LONGEST_VALUE) -> str:
    """The `repr` of any value, at most that long, and whatever its class does when asked for one."""
    try:
        text = repr(value)
    except Exception as error:  # a picture of a failure must not fail for the sake of one value in it
        text = f"<{type(value).__name__} whose repr() raises {type(error).__name__}>"
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def printable(text: str) -> str:
    """The text with what would steer a terminal, or turn the direction of writing, as escapes; lines stay lines."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
