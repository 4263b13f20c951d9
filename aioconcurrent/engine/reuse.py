"""Whether a wrapper may make another call: what a call has left in its process.

What can be put back is put back by the world (connections, caches, mails), or set anew for each call (clock,
chance).  All else has to be as it was, or the process is not used again.
"""

from __future__ import annotations

import gc
import locale
import os
import signal
import sys
import time as wall
from _signal import getsignal  # type: ignore[import-not-found]  # makes no members of enumerations, as signal does
from pathlib import Path
from typing import TYPE_CHECKING

from ..base.sources import owner_of_file
from ..base.text import text_of
from . import threads
from .heap import Heap, UnknowableError
from .learning import new_libraries, new_modules

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from .world import World

_DESCRIPTORS = "/proc/self/fd"


class Process:
    """This process, as it is to be before each call.

    Args:
        world: Puts back what it can.
        doubles: What the test has put in place of other things.
    """

    def __init__(self, world: World, doubles: Sequence[object]) -> None:
        self._world = world
        self._doubles = list(doubles)
        self._heap: Heap | None = None
        self._problem = ""  # for which it cannot be used again, whatever a call does
        self._before: dict[str, object] = {}
        self._modules = 0

    def take_note(self) -> None:
        """Take note of what it is like now; to be called when all is ready for the call."""
        try:
            self._problem = self._world.take_note()
            if not self._before:  # else it was put back to that
                self._before, self._modules = _state(), len(sys.modules)
                self._heap = None if self._problem else self._look()
                gc.freeze()  # else each collection would go through what was noted
        except UnknowableError as unknown:
            self._problem = f"it cannot be told whether a call changes {unknown}"
        except Exception as error:
            self._problem = f"it cannot be told what a call changes ({type(error).__name__}: {text_of(error)})"

    def put_back(self) -> str:
        """Put back what the world looks after; return what could not be, empty if all was."""
        gc.collect()  # before the next call: what is left of a cursor is closed on its connection
        return self._world.put_back()

    def change(self) -> str:
        """What else a call has changed, for which there is no other after it; empty if nothing."""
        problem = self._imported() or self._problem
        if problem or self._heap is None:
            return problem
        after = _state()
        changed = [what for what, now in after.items() if not _is_like(now, self._before[what])]
        if changed:
            return f"a call has changed {changed[0]}"
        place = self._heap.change()
        return f"a call has changed {place}" if place else ""

    def _look(self) -> Heap:
        return Heap(_modules_of_project(), {**self._world.memory(), "what the test replaces": self._doubles})

    def _imported(self) -> str:
        """Which module of the project the call has imported; others it may, as the template may ahead of it."""
        libraries = set(new_libraries(self._modules))
        late = [name for name in new_modules(self._modules) if name not in libraries]
        self._modules = len(sys.modules)
        return f"a call has imported {late[0]}" if late else ""


def _state() -> dict[str, object]:
    """What there is in a process besides memory; descriptors may become fewer."""
    return {
        "the environment": vars(os.environ)["_data"].copy(),  # as the system has it: to decode it takes longest of all
        "the working directory": _directory(),
        "the import path": list(sys.path),
        "the locale": locale.setlocale(locale.LC_ALL),
        "how signals are handled": [getsignal(number) for number in range(1, signal.NSIG)],
        "the standard streams": (sys.stdin, sys.stdout, sys.stderr),
        "the clock": wall.time_ns(),
        "the threads that run": threads.count(),
        "the processes that it has started": _children(),
        "which files are open": frozenset(os.listdir(_DESCRIPTORS)),
    }


def _is_like(now: object, before: object) -> bool:
    return now <= before if isinstance(now, frozenset) and isinstance(before, frozenset) else now == before


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return ""


def _children() -> str:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()


def _modules_of_project() -> dict[str, ModuleType]:
    """The modules that are neither Python's nor of a library."""
    return {
        name: module
        for name, module in list(sys.modules.items())
        if (file := getattr(module, "__file__", None)) is not None and owner_of_file(file) == "application"
    }
