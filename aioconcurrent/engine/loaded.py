"""Modules that were loaded from a file, and that no new process would find under their names.

Test modules of pytest's `--import-mode=importlib` are such, and whatever a script
loads with `importlib.util.spec_from_file_location`.  Models, signal receivers and
all else that an import registers come along only if a new process runs the file,
too; so it is told where the file is.
"""

from __future__ import annotations

import inspect
import os
import sys
from contextlib import contextmanager
from functools import partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .. import _pickling

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

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
            if _has_file(name, namespace) and not _pickling.is_importable(name):
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
    if package and not _pickling.is_importable(package):
        put_there += _introduce(finder, package, {"__path__": [], "__file__": _PACKAGE})
    if name not in sys.modules:
        sys.modules[name] = _StandIn(name, namespace)
        put_there.append(name)
    finder.files[name] = namespace["__file__"]
    return put_there
