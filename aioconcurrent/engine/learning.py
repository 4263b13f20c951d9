"""Modules that calls import late, learned from one call and imported ahead of the next.

Only modules of libraries: importing a module of the project may connect a signal or fill a
registry, and a call must see that only from the moment at which it imports the module.

A module is first imported in a fork, which is thrown away.  If the import needs a session,
starts a thread, opens a socket or connects a signal, the module is left to the calls.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import site
import sys
import sysconfig
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from . import threads
from .surroundings import guard_descriptors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .world import World


_OURS = __name__.partition(".")[0]


def new_modules(known: int) -> list[str]:
    """The modules that this process has imported, after that many others, in the order it began them.

    The others are not looked at: memory of the template that a fork touches is copied.
    """
    return list(islice(reversed(sys.modules), max(0, len(sys.modules) - known)))[::-1]


def new_libraries(known: int) -> tuple[str, ...]:
    """Those of them that are of libraries."""
    return tuple(filter(_is_library, new_modules(known)))


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


_TRIALS = 20  # that find a module which is no good; a call that brings forth more is not learnt from
_PIECE = 64 * 1024  # bytes


class Learning:
    """What the template has to import yet.

    Args:
        fork: Lets a fork of the template run something and end, and returns its process id.
        settle: Is called when something was imported.

    Attributes:
        pid: The process of the trial that is under way, if one is.
    """

    def __init__(self, fork: Callable[[Callable[[], None]], int], settle: Callable[[], None]) -> None:
        self._fork, self._settle = fork, settle
        self._wanted: dict[str, None] = {}  # in the order in which they are imported
        self._refused: set[str] = set()
        self._left = _TRIALS
        self.pid: int | None = None

    def want(self, names: Iterable[str]) -> None:
        """Take note of what a call has imported."""
        self._wanted.update(dict.fromkeys(name for name in names if name not in self._refused))

    def start_trial(self, world: World) -> int | None:
        """Begin to try what is wanted, if anything is, in a fork; return the descriptor that its end is heard on."""
        self._wanted = {name: None for name in self._wanted if name not in sys.modules and name not in self._refused}
        if self.pid is not None or not self._wanted or not self._left:
            return None
        results, sink = os.pipe()
        try:
            self.pid = self._fork(partial(_try, tuple(self._wanted), world, sink))
        except OSError:  # no more processes: the calls import for themselves
            os.close(results)
            return None
        finally:
            os.close(sink)
        return results

    def end_trial(self, results: int) -> bool:
        """Import what has proved good; return whether there was any."""
        told = b""
        while piece := os.read(results, _PIECE):
            told += piece
        os.close(results)
        self.pid = None
        good, bad = pickle.loads(told) if told else ([], next(iter(self._wanted)))
        if bad is not None:
            self._refused.add(bad)
            self._left -= 1
        if not good:
            return False
        with threads.quiet():
            import_ahead(good)
        self._settle()
        return True


def _try(names: tuple[str, ...], world: World, sink: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    guard_descriptors(null)
    is_fit = _fitness(world)
    with threads.quiet():
        told = try_imports(names, is_fit)
    os.write(sink, pickle.dumps(told))
    os._exit(0)


def _fitness(world: World) -> Callable[[], bool]:
    before, is_untouched = _state(), world.put_to_the_test()
    return lambda: _state() == before and is_untouched()


def _state() -> object:
    links = [_target(path) for path in Path("/proc/self/fd").iterdir()]
    sockets = sorted(link for link in links if link.startswith("socket:"))
    environment = {name: value for name, value in os.environ.items() if name not in threads.QUIET}
    return threads.count(), sockets, environment, list(sys.path)


def _target(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:  # the descriptor that the folder was read with
        return ""
