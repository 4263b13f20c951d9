"""The parts of a process that its children do not inherit by themselves, passed on at the time of the call.

Among them are modules that were loaded from a file, and that no new process would find
under their names: test modules of pytest's `--import-mode=importlib`, and whatever a script
loads with `importlib.util.spec_from_file_location`.  Models, signal receivers and everything
else that an import registers exist in a new process only if it runs the file, too.  So it is
told where the file is.
"""

from __future__ import annotations

import faulthandler
import inspect
import logging
import os
import re
import sys
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..base import pickling
from ..exceptions import UnpicklableError
from .debugging import own_terminal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


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
            files=known_files(),
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
        follow(self.files)
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
            action, message, category, module, line = pickling.loads(pickled)
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
            pickled.append(pickling.dumps((action, _pattern(message), category, _pattern(module), line)))
        except UnpicklableError:
            continue
    return pickled


def _pattern(part: Any) -> str:
    """Filters hold compiled patterns, and the interpreter's own ones whole words."""
    if part is None:
        return ""
    return str(part.pattern) if isinstance(part, re.Pattern) else re.escape(part) + r"\Z"


def guard_descriptors(output: int) -> None:
    """Give the call /dev/null to read from, and `output` to print to, whatever it prints with."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    faulthandler.enable()


_PACKAGE = ""  # in place of a file: a package that is nothing but a part of names


class _Finder(MetaPathFinder):
    """Finds these modules before anything else of the same names is found."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = dict(files)

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        file = self.files.get(fullname)
        if file is None:
            return None
        return spec_from_file_location(fullname, file) if file else ModuleSpec(fullname, None, is_package=True)


class _StandIn(ModuleType):
    """What `sys.modules` has of a module that was run without being put there."""

    def __init__(self, name: str, namespace: Mapping[str, Any]) -> None:
        super().__init__(name)
        self._namespace = namespace

    def __getattr__(self, name: str) -> Any:
        try:
            return self._namespace[name]
        except KeyError:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}") from None


@contextmanager
def findable(values: Iterable[object]) -> Iterator[None]:
    """Let this process, and those it starts, import by their names the modules that these are defined in.

    Args:
        values: Functions, classes and instances.
    """
    finder, put_there = _Finder({}), []
    sys.meta_path.insert(0, finder)
    try:
        for value in values:
            name, namespace = _origin(value)
            if _has_file(name, namespace) and not pickling.is_importable(name):
                put_there += _introduce(finder, name, namespace)
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in put_there:
            sys.modules.pop(name, None)


def known_files() -> dict[str, str]:
    """The files of the modules that are findable now."""
    finders = [finder for finder in sys.meta_path if isinstance(finder, _Finder)]
    return {name: file for finder in reversed(finders) for name, file in finder.files.items()}


def follow(files: Mapping[str, str]) -> None:
    """Let these modules, and no others, be findable from now on."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
    if files:
        sys.meta_path.insert(0, _Finder(files))
    for name, file in files.items():
        if file and name in sys.modules and getattr(sys.modules[name], "__file__", None) != file:
            del sys.modules[name]  # another caller's


def _origin(value: object) -> tuple[str, Mapping[str, Any]]:
    """The name of the module in which a value, or its class, was defined, and what is in that module."""
    while isinstance(value, partial):
        value = value.func
    name = getattr(value, "__module__", None) or type(value).__module__
    if name in sys.modules:
        return name, vars(sys.modules[name])
    function = inspect.unwrap(value) if callable(value) else value
    namespace = getattr(function, "__globals__", {})
    return name, namespace if namespace.get("__name__") == name else {}


def _has_file(name: str, namespace: Mapping[str, Any]) -> bool:
    file = namespace.get("__file__")
    return name != "__main__" and isinstance(file, str) and file.endswith(".py") and os.path.isfile(file)


def _introduce(finder: _Finder, name: str, namespace: Mapping[str, Any]) -> list[str]:
    """Make a module findable, and the packages that its name says it is in; return what was put into `sys.modules`."""
    put_there = []
    package = name.rpartition(".")[0]
    if package and not pickling.is_importable(package):
        put_there += _introduce(finder, package, {"__path__": [], "__file__": _PACKAGE})
    if name not in sys.modules:
        sys.modules[name] = _StandIn(name, namespace)
        put_there.append(name)
    finder.files[name] = namespace["__file__"]
    return put_there
