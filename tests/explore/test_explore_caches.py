"""Explorations of calls that share a cache."""

import pytest
from django.core.cache import cache

from aioconcurrent.sync import explore
from tests.project import cached

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_lost_update_through_the_cache_is_found_and_named(redis: str) -> None:
    cache.set("k", 5)
    found = explore((cached.add_one, ("k",), {}), (cached.add_one, ("k",), {}))
    assert found.counterexample is not None
    assert found.counterexample.anomaly == "lost update"
    assert f"{redis}k=5 from the cache" in found.counterexample.explanation
    assert cache.get("k") == 5


def test_atomic_operations_of_redis_have_no_race(redis: str) -> None:
    assert explore(*[(cached.add_one_atomically, ("k",), {})] * 2).exhaustive
    assert cache.get("k") is None


def test_the_same_operations_of_a_backend_that_does_them_in_parts_have_one(files: str) -> None:
    """The calls return nothing: what the cache holds in the end counts."""
    assert explore(*[(cached.add_one_atomically, ("k",), {})] * 2).verdict == "race"
