"""Whether a wrapper may make another call: what a call has left in its process, such as in globals of modules.

What can be put back is put back by the world (connections, caches, mails), or set anew for each call (clock,
chance).  All else has to be as it was, or the process is not used again.

What modules hold in memory is looked at as far as it can be reached from their globals: containers, functions
with their defaults and closures, classes, and instances.  What each of them refers to is compared by identity, in
one go: a cache that has got an entry, a counter, a flag and a class attribute all refer to something else than before.
Instances of Django's classes and of Python's own machinery are not looked into: they remember what they have
worked out, such as how a query is compiled, and forget nothing that a call would notice.
"""

from __future__ import annotations

import contextvars
import gc
import itertools
import locale
import os
import pickle
import random
import re
import signal
import sys
import threading
import time as wall
from _signal import getsignal  # type: ignore[import-not-found]  # makes no members of enumerations, as signal does
from collections import deque
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from functools import _lru_cache_wrapper, partial
from operator import is_
from pathlib import Path
from struct import Struct
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    EllipsisType,
    FunctionType,
    GenericAlias,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    NoneType,
    NotImplementedType,
    UnionType,
    WrapperDescriptorType,
)
from typing import TYPE_CHECKING, Any
from uuid import UUID
from weakref import ReferenceType

from .._text import text_of
from ..base.sources import owner_of_file
from . import threads
from .learning import new_libraries, new_modules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from .world import World


_PLAIN = frozenset({NoneType, bool, int, float, complex, str, bytes})  # which are told apart by their values
# Never change, as far as Python can tell, and hold nothing that does.
_FIXED = (
    *_PLAIN,
    *(BuiltinFunctionType, CodeType, EllipsisType, GenericAlias, GetSetDescriptorType, MemberDescriptorType),
    *(MethodDescriptorType, MethodWrapperType, ModuleType, NotImplementedType, UnionType, WrapperDescriptorType),
    *(date, time, timedelta, tzinfo, Decimal, UUID, range, slice, ReferenceType),
    *(re.Pattern, Struct),
)
_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))
_CONTAINERS = (dict, list, set, frozenset, tuple, deque, MappingProxyType, CellType, *_VIEWS)
_WRAPPERS = (property, staticmethod, classmethod, partial, MethodType)
_MACHINERY = frozenset(
    {
        *("django", "asgiref", "aioconcurrent"),
        *(
            "abc",
            "enum",
            "fractions",
            "functools",
            "importlib",
            "inspect",
            "ipaddress",
            "logging",
            "pathlib",
            "re",
            "typing",
        ),
    }
)
_LAZY = frozenset(
    {"__annotations__", "__annotations_cache__", "__annotate_func__", "__doc__", "__slotnames__", "_abc_impl"}
)
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE
_MOST = 300_000  # objects
_LARGEST = 1_000_000  # bytes of one whose state is pickled


class UnknowableError(Exception):
    """It cannot be told whether something has changed; the argument says what."""


class Heap:
    """What can be reached from some objects, as it is now.

    Args:
        modules: By their names; their functions and classes are looked into as well.
        roots: More objects, by the names that people know them by.

    Raises:
        UnknowableError: Something in it cannot be looked into, or it is too much.
    """

    def __init__(self, modules: Mapping[str, ModuleType], roots: Mapping[str, object]) -> None:
        self._modules = frozenset(modules)
        self._nodes: list[object] = []
        self._places: list[str] = []  # of each node
        self._states: list[tuple[str, Callable[[], object]]] = []  # of what does not refer to what it holds
        seen: set[int] = set()
        waiting = deque(roots.items())
        for name, module in modules.items():
            self._add(name, vars(module))
            seen.add(id(vars(module)))
            waiting += [(f"{name}.{key}", value) for key, value in list(vars(module).items()) if key not in _OF_MODULES]
        while waiting:
            place, item = waiting.popleft()
            if id(item) not in seen and type(item) not in _PLAIN:
                seen.add(id(item))
                waiting.extend(self._enter(place, item))
                if len(seen) > _MOST:
                    raise UnknowableError(f"more than {_MOST:,} objects")
        self._take_note()

    def change(self) -> str:
        """The place of something that is not what it was; empty if all is."""
        if self._is_same():
            return ""
        changed = next((_named(*noted) for noted in self._noted() if not _is_alike(*noted[1:])), "")
        changed = changed or next((place for (place, tell), told in self._told() if tell() != told), "")
        if not changed:
            self._take_note()
        return changed

    def _take_note(self) -> None:
        self._dicts = [node for node in self._nodes if isinstance(node, dict)]
        self._referents = gc.get_referents(*self._nodes)
        self._keys = self._keys_now()
        self._before = [dict(node) if isinstance(node, dict) else gc.get_referents(node) for node in self._nodes]
        self._known = [tell() for _, tell in self._states]

    def _is_same(self) -> bool:
        return (
            _are_same(gc.get_referents(*self._nodes), self._referents)
            and _are_same(self._keys_now(), self._keys)
            and [tell() for _, tell in self._states] == self._known
        )

    def _keys_now(self) -> list[object]:
        # a dict with texts for keys does not refer to them as far as the collector knows
        return list(itertools.chain.from_iterable(map(dict.__iter__, self._dicts)))

    def _noted(self) -> Iterator[tuple[str, object, Any]]:
        return zip(self._places, self._nodes, self._before, strict=True)

    def _told(self) -> Iterator[tuple[tuple[str, Callable[[], object]], object]]:
        return zip(self._states, self._known, strict=True)

    def _add(self, place: str, node: object) -> None:
        self._places.append(place)
        self._nodes.append(node)

    def _enter(self, place: str, item: Any) -> Iterable[tuple[str, object]]:
        """Take note of one object; return what has to be looked at besides."""
        kind = type(item)  # by type: isinstance() would ask a lazy object for its __class__ and so evaluate it
        if issubclass(kind, _FIXED):
            return ()
        if issubclass(kind, type):
            return self._enter_class(place, item)
        if kind is FunctionType:
            return self._enter_function(place, item)
        if issubclass(kind, threading.local):
            return [(place, vars(item))]  # this thread's
        if (tell := _state_of(item)) is not None:
            self._states.append((place, tell))
            if issubclass(kind, _lru_cache_wrapper):  # as many entries may be others, after cache_clear()
                self._add(place, item)
                for part in gc.get_referents(item):
                    if type(part) is dict:
                        self._add(place, part)
            held = _value_of(item) if kind is contextvars.ContextVar else getattr(item, "__wrapped__", None)
            return [(place, part) for part in (held, getattr(item, "__dict__", None)) if part is not None]
        if issubclass(kind, _CONTAINERS + _WRAPPERS):
            pass
        elif kind.__module__.partition(".")[0] in _MACHINERY:
            return ()
        elif not _is_of_python(kind):
            self._states.append((place, partial(_pickled, place, item)))
            return ()
        self._add(place, item)
        attributes = getattr(item, "__dict__", None) if kind is not MappingProxyType else None
        parts = gc.get_referents(item)
        if type(attributes) is dict:  # which has to be there before it is compared
            parts.append(attributes)
        return [(place, part) for part in parts if part is not kind]

    def _is_own(self, module: object) -> bool:
        """Whether what is of this module is looked into; that of none has travelled by value."""
        return module in self._modules or module not in sys.modules

    def _enter_class(self, place: str, item: Any) -> Iterable[tuple[str, object]]:
        if not self._is_own(type.__getattribute__(item, "__module__")):
            return ()
        namespace: dict[str, object] = gc.get_referents(type.__dict__["__dict__"].__get__(item))[0]  # behind its proxy
        self._add(place, namespace)
        return [(f"{place}.{name}", value) for name, value in list(namespace.items()) if name not in _LAZY]

    def _enter_function(self, place: str, item: Any) -> Iterable[tuple[str, object]]:
        home = sys.modules.get(item.__globals__.get("__name__", ""))
        if not self._is_own(item.__module__) and not self._is_own(item.__globals__.get("__name__")):
            return ()
        parts = [item.__dict__, item.__defaults__, item.__kwdefaults__, item.__closure__]
        if home is None or vars(home) is not item.__globals__:  # those of a function that has travelled by value
            parts.append(item.__globals__)
        self._add(place, item)
        return [(place, part) for part in parts if part is not None]


_OF_MODULES = frozenset({"__builtins__", "__loader__", "__spec__", "__cached__", "__path__"})


def _are_same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(map(is_, one, other))


def _is_alike(node: Any, before: Any) -> bool:
    """Whether it refers to the same, or to plain values that are equal."""
    now, then = gc.get_referents(node), before
    if isinstance(node, dict):
        now = [part for pair in dict.items(node) if pair[0] not in _LAZY for part in pair]
        then = [part for pair in before.items() if pair[0] not in _LAZY for part in pair]
    return len(now) == len(then) and all(
        one is other or (type(one) is type(other) and type(one) in _PLAIN and one == other)
        for one, other in zip(now, then, strict=True)
    )


def _named(place: str, node: object, before: Any) -> str:
    """The place of what has changed, in a namespace the name there."""
    if not isinstance(node, dict) or ("__module__" not in node and "__name__" not in node):
        return place
    names = [name for name in {**before, **node} if not _is_alike([node.get(name)], [before.get(name)])]
    return ".".join([place, *map(str, names[:1])])


def _state_of(item: Any) -> Callable[[], object] | None:
    """What tells the state of an object that does not refer to what it holds; None for any other."""
    if isinstance(type(item), type) and issubclass(type(item), _lru_cache_wrapper):
        return item.cache_info  # type: ignore[no-any-return]
    for kind, tell in _STATES:
        if issubclass(type(item), kind):
            return partial(tell, item)
    return None


_STATES: tuple[tuple[Any, Callable[[Any], object]], ...] = (
    (random.Random, random.Random.getstate),
    ((bytearray, memoryview), bytes),
    ((itertools.count, itertools.repeat), repr),
    (contextvars.ContextVar, lambda variable: id(_value_of(variable))),
    (type(threading.Lock()), lambda lock: lock.locked()),
    (type(threading.RLock()), repr),
)


def _value_of(variable: contextvars.ContextVar[Any]) -> Any:
    """What a variable has here, also where that is its default; None if it has nothing."""
    try:
        return variable.get()
    except LookupError:
        return None


def _is_of_python(kind: type) -> bool:
    """Whether its instances refer to all that they hold."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return bool(kind.__flags__ & _HEAP_TYPE) and file is not None and file.endswith(".py")


def _pickled(place: str, item: object) -> object:
    try:
        told = pickle.dumps(item)
    except Exception:
        raise UnknowableError(f"{place}, a {type(item).__module__}.{type(item).__qualname__}") from None
    if len(told) > _LARGEST:
        raise UnknowableError(f"{place}, of {len(told):,} bytes")
    return told


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
