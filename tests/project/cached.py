"""Calls that use Django's caches, and points of their own."""

from typing import Any

from django.core.cache import cache, caches
from django.core.cache.backends.filebased import FileBasedCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache

from aioconcurrent import step
from tests.project.shop.models import Counter


class CacheRouter:
    """Keeps the cache's table in PostgreSQL."""

    def db_for_read(self, model: Any, **_: object) -> str | None:
        return "postgresql" if model._meta.app_label == "django_cache" else None

    db_for_write = db_for_read


class Shelf(LocMemCache):
    """A cache in local memory, by another name."""


class Watched(FileBasedCache):
    """A cache whose operations do what its parent's do."""

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        return super().get(key, default, version)


def add_one(key: str) -> int:
    """The wrong way: read, add, write."""
    value: int = cache.get(key, 0) + 1
    cache.set(key, value)
    return value


def empty() -> None:
    cache.clear()


def count(key: str) -> int:
    """The right way, where the backend can."""
    value: int = cache.incr(key)
    return value


def count_from(start: int) -> int:
    cache.add("counter", start)
    value: int = cache.incr("counter")
    return value


def every_way() -> None:
    cache.set("a", 1)
    cache.get("a")
    cache.get("b")
    cache.add("a", 2)
    cache.add("b", 2)
    cache.incr("a", 2)
    cache.decr("a")
    cache.touch("a", 60)
    "a" in cache  # noqa: B015 - it asks the cache
    cache.set_many({"c": 3, "d": [4]})
    cache.get_many(key for key in ("c", "d", "e"))
    cache.get_or_set("f", lambda: 6)
    cache.delete("f")
    cache.delete_many(["c", "d"])


def ask_for(name: str, default: Any) -> Any:
    return cache.get(name, default)


def keep_counter(pk: int) -> None:
    cache.set("counter", Counter.objects.get(pk=pk))


def total(using: str) -> int:
    """A value that is worked out only if the cache has none."""
    value = cache.get_or_set("total", lambda: Counter.objects.using(using).count())
    return value or 0


def look_into_each(*aliases: str) -> None:
    for alias in aliases:
        caches[alias].get("key")


async def add_one_in_coroutine(key: str) -> int:
    value: int = await cache.aget(key, 0) + 1
    await cache.aset(key, value)
    return value


def stop_at(*names: str) -> str:
    for name in names:
        step(name)
    return names[-1]


def add_one_atomically(key: str) -> None:
    cache.add(key, 0)
    cache.incr(key)


def add_one_in(alias: str, key: str) -> None:
    """The wrong way, in a cache of that name."""
    caches[alias].set(key, caches[alias].get(key, 0) + 1)


def count_in(alias: str, key: str) -> None:
    """The right way."""
    caches[alias].incr(key)


def set_by_hand(url: str, key: str) -> None:
    """Use a cache that the settings do not know."""
    RedisCache(url, {}).set(key, 1, timeout=1)
