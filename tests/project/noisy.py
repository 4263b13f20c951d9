"""Functions that log, warn and print, and the random numbers of a process."""

import logging
import os
import random
import sys
import warnings

logger = logging.getLogger(__name__)
early = random.Random()  # as Faker and factory_boy have them: made when the module is imported


class ShopWarning(UserWarning):
    pass


def log(level: int, text: str, *args: object) -> bool:
    """Log to this module's logger; returns whether its level lets it through."""
    logger.log(level, text, *args, extra={"order": 7})
    return logger.isEnabledFor(level)


def log_error() -> None:
    try:
        int("many")
    except ValueError:
        logger.exception("no number")


def log_to(name: str) -> None:
    logging.getLogger(name).warning("to %s", name)


def warn(text: str) -> str:
    warnings.warn(text, ShopWarning, stacklevel=1)
    return "went on"


def say(text: str) -> None:
    """Print to both streams, and from another program."""
    print(f"{text} to stdout")
    sys.stdout.flush()
    print(f"{text} to stderr", file=sys.stderr)
    sys.stderr.flush()
    os.system(f"echo {text} from a shell")


def draw() -> tuple[float, float]:
    """Return a number of the generator that was made at import, and one of the module's own."""
    return early.random(), random.random()
