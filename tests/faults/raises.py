"""What the fault tests call: functions whose results and exceptions are hard to bring home."""

from __future__ import annotations

import logging
import threading
import warnings
from typing import Any, NoReturn

from tests.project.shop.models import Counter


class TwoPartsError(Exception):
    """Its constructor takes other arguments than its `args`."""

    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code, self.reason = code, reason


class TwoPartsWarning(UserWarning):
    """The same for a warning."""

    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"{code}: {reason}")


class LockHoldingError(Exception):
    """Cannot be pickled."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()


class MuteError(Exception):
    """Has no text."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class Unreadable:
    """Can be pickled, and not unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("not a number",)


class Unprintable:
    """Has no repr."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


def return_lock() -> object:
    return threading.Lock()


def return_unreadable() -> object:
    return Unreadable()


def log_and_warn() -> str:
    """Send home what does not survive the way."""
    logging.getLogger("shop").warning("sold %s", "out", extra={"reason": TwoPartsError(7, reason="sold out")})
    warnings.warn(TwoPartsWarning(7, reason="sold out"), stacklevel=1)
    return "returned"


def create_twice(using: str) -> None:
    """Break a constraint of the database."""
    for _ in range(2):
        Counter.objects.using(using).create(pk=1)


def return_unprintable() -> object:
    return Unprintable()


def raise_two_parts() -> NoReturn:
    raise TwoPartsError(7, reason="sold out")


def raise_with_lock() -> NoReturn:
    raise LockHoldingError("held")


def raise_local() -> NoReturn:
    class LocalError(Exception):
        pass

    raise LocalError("from here")


def raise_mute() -> NoReturn:
    raise MuteError


def raise_unreadable() -> NoReturn:
    raise ValueError(Unreadable())


def exit_in_order(code: object) -> NoReturn:
    raise SystemExit(code)


async def exit_in_coroutine(code: object) -> NoReturn:
    raise SystemExit(code)


def interrupt() -> NoReturn:
    raise KeyboardInterrupt


async def interrupt_coroutine() -> NoReturn:
    raise KeyboardInterrupt


def raise_group() -> NoReturn:
    raise ExceptionGroup("two at once", [KeyError("one"), ExceptionGroup("nested", [TwoPartsError(7, reason="two")])])


def raise_group_with_interrupt() -> NoReturn:
    raise BaseExceptionGroup("mixed", [KeyboardInterrupt(), ValueError("seven")])


def raise_builtins() -> NoReturn:
    """Exceptions of the interpreter that keep more than their `args`."""
    raise ExceptionGroup(
        "builtin",
        [
            UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
            SyntaxError("invalid syntax", ("shop.py", 3, 7, "sell(")),
            StopIteration(7),
            ImportError("no till", name="till", path="till.py"),
            FileNotFoundError(2, "No such file or directory", "receipt"),
        ],
    )


def raise_from_cause() -> NoReturn:
    try:
        raise_two_parts()
    except TwoPartsError as cause:
        error = ValueError("seven")
        error.add_note("seen on a Tuesday")
        raise error from cause


def raise_in_context() -> NoReturn:
    try:
        raise_two_parts()
    except TwoPartsError:
        raise ValueError("seven")  # noqa: B904 - the context is what is tested
