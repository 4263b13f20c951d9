"""Values of the project's own classes as text."""

_LONGEST_VALUE = 4000


def shown(value: object, longest: int = _LONGEST_VALUE) -> str:
    """The `repr` of any value, at most that long, and whatever its class does when asked for one."""
    try:
        text = repr(value)
    except Exception as error:  # a picture of a failure must not fail for the sake of one value in it
        text = f"<{type(value).__name__} whose repr() raises {type(error).__name__}>"
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
