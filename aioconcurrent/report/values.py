"""Values of a project, and texts with such values in them, made fit to be shown."""

from .. import _text

_LONGEST_VALUE = 4000


def shown(value: object, longest: int = _LONGEST_VALUE) -> str:
    """The `repr` of any value, at most that long, and whatever its class does when asked for one."""
    try:
        text = repr(value)
    except Exception as error:  # a picture of a failure must not fail for the sake of one value in it
        text = f"<{type(value).__name__} whose repr() raises {type(error).__name__}>"
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def printable(text: str) -> str:
    """The text with what would steer a terminal, or turn the direction of writing, as escapes; lines stay lines."""
    return _text.printable(text).replace("\t", r"\t")
