"""Django's caches: one operation of a backend is one step, and what it changes is put back.

Operations that a backend's class defines itself are stepped, also in classes that are defined
later.  Operations that `BaseCache` builds from others (`get_or_set` from `get`, `add` and
`get`; the async versions of all) are stepped as those: other calls can come in between.
A database cache is stepped as its SQL, which takes locks.  A cache in local memory is
visible to its own process alone, and is not stepped.

What the caches held before is put back after each run.  A cache cannot be listed, so each
key is looked up when a call is about to change it for the first time, while all other calls
stand still.  Other keys that `clear()` removes are lost.
"""

from __future__ import annotations

import functools
import inspect
import re
import threading
from contextlib import suppress
from enum import Enum
from reprlib import Repr
from typing import TYPE_CHECKING, Any

from ...base.trace import CACHE_READS, Operation
from ..identity import cache_names
from ..schema import CACHE
from .passage import primitive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ...base.trace import Primitive
    from .passage import Passage

_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "get": ("key", "default", "version"),
    "has_key": ("key", "version"),
    "get_many": ("keys", "version"),
    "set": ("key", "value", "timeout", "version"),
    "add": ("key", "value", "timeout", "version"),
    "get_or_set": ("key", "default", "timeout", "version"),
    "set_many": ("data", "timeout", "version"),
    "incr": ("key", "delta", "version"),
    "decr": ("key", "delta", "version"),
    "incr_version": ("key", "delta", "version"),
    "decr_version": ("key", "delta", "version"),
    "touch": ("key", "timeout", "version"),
    "delete": ("key", "version"),
    "delete_many": ("keys", "version"),
    "clear": (),
}
_COMPOSED = {("django.core.cache.backends.filebased.FileBasedCache", "add")}  # of has_key and set
_AS_SQL = "django.core.cache.backends.db.BaseDatabaseCache"
_UNSHARED = {
    "django.core.cache.backends.locmem.LocMemCache": (
        "which every process has for itself: what one call puts into it no other call sees, as between the "
        "processes of a server"
    ),
    "django.core.cache.backends.dummy.DummyCache": "which keeps nothing: no race through it can be seen",
}
_LONGEST = 200  # characters of a value that is described
_CREDENTIALS = re.compile(r"(?<=//)[^/@]*@")
_NOTHING = object()  # stands for a default or for no value, which may equal what is in the cache
_inside = threading.local()


def install(passage: Passage) -> None:
    """Let every operation of a shared cache of this process pass."""
    from django.core.cache.backends.base import BaseCache

    def init_subclass(cls: type[BaseCache], **kwargs: Any) -> None:
        super(BaseCache, cls).__init_subclass__(**kwargs)
        _hook(cls, passage)

    for kind in list(_subclasses(BaseCache)):
        _hook(kind, passage)
    BaseCache.__init_subclass__ = classmethod(init_subclass)  # type: ignore[assignment, arg-type]


def _subclasses(kind: type) -> Iterator[type]:
    each: type
    for each in kind.__subclasses__():
        yield each
        yield from _subclasses(each)


def _hook(kind: type, passage: Passage) -> None:
    names = [_name(each) for each in kind.__mro__]
    if _AS_SQL in names:
        return
    reason = next((_UNSHARED[name] for name in names if name in _UNSHARED), None)
    for name in _ARGUMENTS.keys() & vars(kind).keys():
        method = vars(kind)[name]
        if not inspect.isfunction(method) or (_name(kind), name) in _COMPOSED:
            continue
        setattr(kind, name, _passing(passage, name, method) if reason is None else _noted(passage, reason, method))


def _passing(passage: Passage, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def passing(self: Any, *args: Any, **kwargs: Any) -> Any:
        cache = getattr(_inside, "cache", None)
        if cache is self or not passage.is_closed():
            return method(self, *args, **kwargs)
        _inside.cache = self  # what it calls of its own operations is the same step
        try:
            return _pass(passage, self, name, method, list(args), kwargs)
        finally:
            _inside.cache = cache

    return passing


def _pass(
    passage: Passage, cache: Any, name: str, method: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]
) -> Any:
    given = dict(zip(_ARGUMENTS[name], args, strict=False)) | kwargs
    fallback = given.get("default")
    if name == "get":
        _put(args, kwargs, 1, "default", _NOTHING)
    if "keys" in given:
        given["keys"] = list(given["keys"])  # which may be an iterator
        _put(args, kwargs, 0, "keys", given["keys"])
    raw = [given["key"]] if "key" in given else list(given.get("keys", given.get("data", ())))
    keys = tuple(str(cache.make_key(key, version=given.get("version"))) for key in raw)
    tell = functools.partial(_tell, name, raw, keys, given)
    operation = Operation("cache", name, keys, database=store(cache))
    found = passage.pass_through(operation, lambda: method(cache, *args, **kwargs), tell)
    return fallback if found is _NOTHING else found


def _put(args: list[Any], kwargs: dict[str, Any], position: int, name: str, value: object) -> None:
    if position < len(args):
        args[position] = value
    else:
        kwargs[name] = value


def _tell(name: str, raw: list[Any], keys: tuple[str, ...], given: Mapping[str, Any], found: Any) -> Any:
    """How many keys it changed or found, the keys, and one row: the values found or stored."""
    match name:
        case "get":
            return int(found is not _NOTHING), keys, ((None if found is _NOTHING else _shown(found),),)
        case "get_many":
            return len(found), keys, (tuple(_shown(found.get(key)) for key in raw),)
        case "set":
            return None, keys, ((_shown(given["value"]),),)
        case "set_many":
            return None, keys, (tuple(map(_shown, given["data"].values())),)
        case "add":
            return int(bool(found)), keys, ((_shown(given["value"]),),)
        case "touch" | "delete":
            return None if found is None else int(found), keys, ()
        case "delete_many" | "clear":
            return None, keys, ()
    return None, keys, ((_shown(found),),)


class _Describing(Repr):
    """Describes values without running code of theirs, such as a query."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = self.maxlong = _LONGEST
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = 20

    def repr_instance(self, x: Any, level: int) -> str:
        kind = type(x)
        if kind.__module__ in ("builtins", "datetime", "decimal", "uuid", "fractions") and not isinstance(x, type):
            return repr(x)[:_LONGEST]
        if isinstance(x, type | Enum):
            return str(x)
        fields = {name: value for name, value in getattr(x, "__dict__", {}).items() if not name.startswith("_")}
        inside = ", ".join(f"{name}={self.repr1(value, level - 1)}" for name, value in fields.items())
        return f"{kind.__qualname__}({inside if level > 0 else '...'})"


_describing = _Describing()


def _shown(value: object) -> Primitive:
    """A value of a cache, as text where it is not a plain one."""
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return primitive(value)
    return _describing.repr(value)


def _noted(passage: Passage, reason: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def noted(self: Any, *args: Any, **kwargs: Any) -> Any:
        if id(self) not in passage.unshared and passage.is_closed():
            alias = next((f"{name!r} " for name in _aliases(self)), "")
            passage.unshared[id(self)] = f"The cache {alias}is {_name(type(self))}, {reason}."
        return method(self, *args, **kwargs)

    return noted


def _aliases(cache: object) -> Iterator[str]:
    from django.core.cache import caches

    made: Any = caches
    return (alias for alias in made if getattr(made._connections, alias, None) is cache)


def store(cache: Any) -> str:
    """What two caches have in common if they may keep their values in one place."""
    for attribute in ("_servers", "_server", "_dir"):
        location = getattr(cache, attribute, None)
        if location:
            return _CREDENTIALS.sub("", location if isinstance(location, str) else ",".join(map(str, location)))
    return _name(type(cache))


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


class CacheState:
    """The keys that calls have changed, in this process's own connections to the caches.

    Each store is like a table, named `CACHE` and the store, with a row for each key.

    Attributes:
        unseen: Which stores of calls are unknown here, a sentence each.
    """

    def __init__(self) -> None:
        self._caches: dict[str, Any] | None = None  # by store
        self._names: dict[str, str] = {}  # of stores, by their spellings
        self.unseen: set[str] = set()
        self._start: dict[tuple[str, str], Any] = {}

    def name_of(self, spelling: str) -> str:
        """The one name of a store that several caches may spell in several ways."""
        if not self._names:
            self._names = cache_names(self._open())
        return self._names.get(spelling, spelling)

    def note(self, operation: Operation) -> None:
        """Look up what a call is about to change."""
        if operation.kind == "cache" and operation.database not in self._open():
            self.unseen.add(
                f"the cache at {operation.database} is none of CACHES, so that what it holds is not put back, and who "
                "else uses it is not known"
            )
        if operation.kind != "cache" or operation.text in CACHE_READS:
            return
        cache = self._open().get(operation.database)
        for key in map(str, operation.parameters or ()):
            if cache is not None and (operation.database, key) not in self._start:
                self._start[operation.database, key] = cache.get(key, _NOTHING)

    def touched(self, operation: Operation) -> set[str]:
        """The store that an operation may have changed."""
        is_change = operation.kind == "cache" and operation.text not in CACHE_READS
        return {CACHE + operation.database} if is_change else set()

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """What all these keys hold now, by store."""
        found: dict[str, list[dict[str, Any]]] = {}
        for name, key in self._start:
            value = self._open()[name].get(key, _NOTHING)
            rows = found.setdefault(CACHE + name, [])
            rows += [] if value is _NOTHING else [{"key": key, "value": _shown(value)}]
        return found

    def restore(self) -> None:
        """Put every key back; one that had a time to live gets the cache's usual one."""
        for (name, key), value in self._start.items():
            cache = self._open()[name]
            if value is _NOTHING:
                cache.delete(key)
            else:
                cache.set(key, value)

    def close(self) -> None:
        """Close the connections to the caches."""
        for cache in (self._caches or {}).values():
            with suppress(Exception):  # it may never have been there
                cache.close()

    def _open(self) -> dict[str, Any]:
        if self._caches is None:
            from django.core.cache import caches

            self._caches = {}
            for alias in caches:
                with suppress(Exception):  # whatever is wrong with it, the calls tell if they use it
                    cache: Any = caches.create_connection(alias)
                    cache.key_func = lambda key, prefix, version: key  # as it is stored
                    self._caches.setdefault(store(cache), cache)
        return self._caches
