"""What calls import late, learnt from one and had ahead of the next.

A module is imported in a fork first, which is thrown away: what needs a session,
starts a thread, opens a socket or connects a signal there is left to the calls.
"""

from __future__ import annotations

import os
import pickle
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from . import threads
from .libraries import import_ahead, try_imports
from .wrapper import guard_descriptors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .nursery import Nursery
    from .world import World

_TRIALS = 20  # that find a module which is no good; a call that brings forth more is not learnt from
_PIECE = 64 * 1024  # bytes


class Learning:
    """What the template has to import yet.

    Attributes:
        pid: The process of the trial that is under way, if one is.
    """

    def __init__(self, nursery: Nursery) -> None:
        self._nursery = nursery
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
            self.pid = self._nursery.start_trial(partial(_try, tuple(self._wanted), world, sink))
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
        self._nursery.freeze()
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
