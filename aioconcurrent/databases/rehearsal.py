"""Doing once, in the process that wrappers are forked from, what Django does at a first query.

Django imports the compilers of a database's SQL, and works out what a model's fields are
called and how they are converted.  That takes a wrapper many times as long as its query.
"""

from __future__ import annotations

import contextlib
import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_CLIENTS = {
    "django.core.cache.backends.redis.RedisCache": "redis",
    "django.core.cache.backends.memcached.PyMemcacheCache": "pymemcache",
    "django.core.cache.backends.memcached.PyLibMCCache": "pylibmc",
}
_rehearsed: set[str] = set()


def rehearse_queries(aliases: Iterable[str]) -> None:
    """Build queries for every model, and run none; connections that this opens are the caller's to close."""
    from django.apps import apps

    from . import caches, hooks  # noqa: F401 - imported for the gate of a wrapper

    for alias in set(aliases) - _rehearsed:
        _rehearsed.add(alias)
        for model in apps.get_models():
            with contextlib.suppress(Exception):  # the call that uses such a model meets it again
                _build_queries(model, alias)


def rehearse_caches() -> None:
    """Import what the caches of the project talk through; a backend does it at its first operation only."""
    from django.conf import settings
    from django.utils.module_loading import import_string

    for cache in settings.CACHES.values():
        with contextlib.suppress(Exception):  # the call that uses such a cache meets it again
            backend = str(cache["BACKEND"])
            import_string(backend)
            if backend in _CLIENTS:
                importlib.import_module(_CLIENTS[backend])


def _build_queries(model: Any, alias: str) -> None:
    from django.db.models import F
    from django.db.models.sql import UpdateQuery

    rows = model._base_manager.using(alias).filter(pk=F(model._meta.pk.name)).order_by("pk").query
    update = rows.chain(UpdateQuery)
    update.add_update_fields([(field, None, None) for field in model._meta.local_concrete_fields])
    for query in (rows, update):
        query.get_compiler(alias).as_sql()
