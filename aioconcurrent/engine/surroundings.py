"""The parts of a process that its children do not simply inherit: they come along at the time of the call."""

from __future__ import annotations

import logging
import os
import re
import sys
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import _pickling
from ..exceptions import UnpicklableError
from . import loaded
from .debugging import own_terminal

if TYPE_CHECKING:
    from collections.abc import Mapping

PARENT_PID_VARIABLE = "AIOCONCURRENT_PARENT_PID"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where and how the caller's process runs.

    Attributes:
        files: Of modules that are not found otherwise, by name.
        filters: One pickle for each of the caller's warning filters, first match first.
        levels: Logger names and their levels; the root's name is "".
        disabled: As in `logging.disable`.
        terminal: The path of the terminal that it reads from; None if it reads from none.
    """

    directory: str
    environment: dict[str, str]
    path: list[str]
    files: dict[str, str]
    arguments: list[str]
    filters: list[bytes]
    levels: dict[str, int]
    disabled: int
    terminal: str | None

    @classmethod
    def capture(cls) -> Surroundings:
        """Take note of this process."""
        loggers = [logging.root, *_loggers()]
        return cls(
            directory=os.getcwd(),
            environment={**os.environ, PARENT_PID_VARIABLE: str(os.getpid())},
            path=list(sys.path),
            files=loaded.known_files(),
            arguments=list(sys.argv),
            filters=_picklable_filters(),
            levels={"" if logger is logging.root else logger.name: logger.level for logger in loggers if logger.level},
            disabled=logging.root.manager.disable,
            terminal=own_terminal(),
        )

    def apply(self, applied: Surroundings | None = None) -> None:
        """Make directory, environment, import path and arguments of this process the same.

        Args:
            applied: What this process has already, if nothing ran since that could have changed it:
                most races of a test run differ in a variable or two, and a fork pays for each that it writes.
        """
        if applied is None:
            os.environ.clear()
        _change_environment(applied.environment if applied else {}, self.environment)
        sys.path[:] = self.path
        loaded.follow(self.files)
        sys.argv[:] = self.arguments
        os.chdir(self.directory)

    def apply_levels(self) -> None:
        """Make log levels the same."""
        for name, level in self.levels.items():
            logger = logging.getLogger(name)
            if logger.level != level:  # setting one makes every logger forget what it knows
                logger.setLevel(level)
        if logging.root.manager.disable != self.disabled:
            logging.disable(self.disabled)

    def apply_filters(self) -> None:
        """Make warnings the same; to be called when the project's modules can be imported."""
        warnings.resetwarnings()
        for pickled in self.filters:
            action, message, category, module, line = _pickling.loads(pickled)
            warnings.filterwarnings(action, message, category, module, line, append=True)


def _change_environment(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    for name in before.keys() - after.keys():
        os.environ.pop(name, None)
    for name, value in after.items():
        if before.get(name) != value:
            os.environ[name] = value
    if hasattr(time, "tzset") and before.get("TZ", "") != after.get("TZ"):
        time.tzset()


def _loggers() -> list[logging.Logger]:
    """Every named logger; the manager's table also holds placeholders, which have no level."""
    return [logger for logger in list(logging.root.manager.loggerDict.values()) if isinstance(logger, logging.Logger)]


def forward_logs(handler: logging.Handler) -> None:
    """Let `handler` have every log record of this process, in place of the project's own handlers.

    The caller's process hands the records to its handlers, which would otherwise
    run twice.
    """
    for logger in _loggers():
        if logger.handlers or not logger.propagate:
            logger.handlers[:] = [] if logger.propagate else [handler]
    logging.root.handlers[:] = [handler]


def _picklable_filters() -> list[bytes]:
    """The filters as arguments of `warnings.filterwarnings`; a category that cannot travel cannot be raised either."""
    pickled = []
    for action, message, category, module, line in warnings.filters:
        try:
            pickled.append(_pickling.dumps((action, _pattern(message), category, _pattern(module), line)))
        except UnpicklableError:
            continue
    return pickled


def _pattern(part: Any) -> str:
    """Filters hold compiled patterns, and the interpreter's own ones whole words."""
    if part is None:
        return ""
    return str(part.pattern) if isinstance(part, re.Pattern) else re.escape(part) + r"\Z"
