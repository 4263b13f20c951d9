"""Which modules are a library's, that one process may import in place of another.

A project's own modules are not: importing one may connect a signal or fill a
registry, and a call has that from the moment on at which it imports it.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import site
import sys
import sysconfig
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

_OURS = __name__.partition(".")[0]


def new_libraries(known: Collection[str]) -> tuple[str, ...]:
    """The modules of libraries that this process has imported, beside the known ones, in the order it began them."""
    return tuple(name for name in list(sys.modules) if name not in known and _is_library(name))


def import_ahead(names: Iterable[str]) -> None:
    """Import what is not imported yet; what cannot be is met again by whoever needs it."""
    for name in names:
        if name not in sys.modules:
            with contextlib.suppress(BaseException):
                importlib.import_module(name)


def try_imports(names: Iterable[str], is_fit: Callable[[], bool]) -> tuple[list[str], str | None]:
    """Import these, in a fork that serves for this alone.

    Args:
        is_fit: Whether what was imported so far could be had ahead.

    Returns:
        What could be, as far as that goes, and the module that could not.
    """
    good: list[str] = []
    for name in names:
        if name not in sys.modules:
            try:
                importlib.import_module(name)
            except BaseException:
                return good, name
            if not is_fit():
                return good, name
        good.append(name)
    return good, None


def _is_library(name: str) -> bool:
    spec = getattr(sys.modules.get(name), "__spec__", None)
    if spec is None or spec.name != name:
        return False
    origin = str(spec.origin)
    return origin in ("built-in", "frozen") or name.partition(".")[0] == _OURS or origin.startswith(_places())


@lru_cache(maxsize=1)
def _places() -> tuple[str, ...]:
    paths = [*(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))]
    paths += [*site.getsitepackages(), site.getusersitepackages()]
    return tuple(os.path.join(path, "") for path in dict.fromkeys(paths))
