"""What the caches held before a call changed it, put back after each run.

A cache cannot be listed: each key is looked up when a call is about to change it
for the first time, while everybody stands still.  What `clear()` takes away
besides these keys is gone.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .caches import READS, shown, store
from .identity import cache_names
from .schema import CACHE

if TYPE_CHECKING:
    from .._trace import Operation

_NOTHING = object()


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
        if operation.kind != "cache" or operation.text in READS:
            return
        cache = self._open().get(operation.database)
        for key in map(str, operation.parameters or ()):
            if cache is not None and (operation.database, key) not in self._start:
                self._start[operation.database, key] = cache.get(key, _NOTHING)

    def touched(self, operation: Operation) -> set[str]:
        """The store that an operation may have changed."""
        is_change = operation.kind == "cache" and operation.text not in READS
        return {CACHE + operation.database} if is_change else set()

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """What all these keys hold now, by store."""
        found: dict[str, list[dict[str, Any]]] = {}
        for name, key in self._start:
            value = self._open()[name].get(key, _NOTHING)
            rows = found.setdefault(CACHE + name, [])
            rows += [] if value is _NOTHING else [{"key": key, "value": shown(value)}]
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
                    cache.key_func = _as_stored
                    self._caches.setdefault(store(cache), cache)
        return self._caches


def _as_stored(key: str, prefix: str, version: int) -> str:
    return key
