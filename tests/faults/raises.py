"""What the fault tests call: functions whose results and exceptions are hard to bring home."""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from typing import Any, NoReturn

from tests.project.shop.models import Counter

CONTROLS = "red \x1b[31m, nothing \x00, backwards \u202e, a line \u2028, half \udcff"
SHOWN = r"red \x1b[31m, nothing \x00, backwards \u202e, a line \u2028, half \udcff"


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


class SilentlyExitingError(Exception):
    """Ends the process of whoever asks for its text."""

    def __str__(self) -> str:
        raise SystemExit("no words")


class ForeverInterruptedError(Exception):
    """Can be pickled, and interrupts whoever unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return raise_this, (KeyboardInterrupt("not now"),)


class ExitingOnTheWayError(Exception):
    """Exits when it is pickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        raise SystemExit("not me")


class Raising:
    """Can be pickled, and raises this when it is unpickled."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> tuple[Any, ...]:
        return raise_this, (self.error,)


class Unreadable:
    """Can be pickled, and not unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("not a number",)


class Unprintable:
    """Has no repr."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


def raise_this(error: BaseException) -> NoReturn:
    raise error


def return_raising(error: BaseException) -> object:
    return Raising(error)


def return_lock() -> object:
    return threading.Lock()


def return_unreadable() -> object:
    return Unreadable()


def log_and_warn() -> str:
    """Send home what does not survive the way."""
    logging.getLogger("shop").warning("sold %s", "out", extra={"reason": TwoPartsError(7, reason="sold out")})
    warnings.warn(TwoPartsWarning(7, reason="sold out"), stacklevel=1)
    return "returned"


def log_and_warn_much(count: int) -> str:
    """Log that often, and warn as often, each time with a kilobyte."""
    logger = logging.getLogger("storm")
    for number in range(count):
        logger.warning("%d %s", number, "x" * 1000)
        warnings.warn(f"{number} {'x' * 1000}", stacklevel=1)
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


def raise_silently_exiting() -> NoReturn:
    raise SilentlyExitingError


def raise_forever_interrupted() -> NoReturn:
    raise ForeverInterruptedError("mine")


def raise_exiting_on_the_way() -> NoReturn:
    raise ExitingOnTheWayError("mine")


def raise_below(depth: int) -> NoReturn:
    """Raise from so many frames below this one."""
    sys.setrecursionlimit(depth + 1000)
    _raise_below(depth)


def _raise_below(depth: int) -> NoReturn:
    if depth == 1:
        raise ValueError("at the bottom")
    _raise_below(depth - 1)


def recurse() -> NoReturn:
    recurse()


def raise_with_little_room() -> NoReturn:
    """Leave less room to recurse than pickling takes."""
    sys.setrecursionlimit(60)
    raise ValueError("at the bottom")


def raise_with_odd_notes() -> NoReturn:
    error = ValueError("seven")
    error.__notes__ = 5  # type: ignore[assignment]
    raise error


def raise_long_chain() -> NoReturn:
    """Raise an error with more causes than pickling can follow."""
    error: ValueError | None = None
    for number in range(3000):
        error, cause = ValueError(number), error
        error.__cause__ = cause
    assert error is not None
    raise error


def raise_controls() -> NoReturn:
    raise ValueError(CONTROLS)


def print_controls_and_die() -> NoReturn:
    os.write(1, CONTROLS.encode(errors="replace"))
    os._exit(3)


def raise_unreadable() -> NoReturn:
    raise ValueError(Unreadable())


def exit_in_order(code: object) -> NoReturn:
    raise SystemExit(code)


async def exit_in_coroutine(code: object) -> NoReturn:
    raise SystemExit(code)


def exit() -> NoReturn:  # noqa: A001 - it is that
    raise SystemExit(3)


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
