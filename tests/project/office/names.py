"""Calls for which it matters what a server says of itself: its isolation, and what two names stand for."""

from django.core.cache import caches
from django.db import OperationalError, transaction
from django.db.models import F

from tests.project.office.models import Handle, Post, Reply
from tests.project.office.statements import sql


def look_then_add(using: str, level: str = "") -> None:
    """Under REPEATABLE READ the first look decides what may be changed."""
    with transaction.atomic(using):
        if level:
            sql(using, f"SET TRANSACTION ISOLATION LEVEL {level}")
        Reply.objects.using(using).count()
        Post.objects.using(using).filter(pk=1).update(likes=F("likes") + 1)


def look_then_lock(using: str) -> tuple[int, int]:
    """Under MariaDB's REPEATABLE READ a lock shows what is now, and a look what was at the first."""
    with transaction.atomic(using):
        Reply.objects.using(using).count()
        locked = Post.objects.using(using).select_for_update().get(pk=1).likes
        return locked, Post.objects.using(using).get(pk=1).likes


def look_then_look(using: str) -> tuple[int, int]:
    with transaction.atomic(using):
        return tuple(Post.objects.using(using).get(pk=1).likes for _ in range(2))  # type: ignore[return-value]


def add(using: str) -> None:
    for _ in range(5):
        try:
            Post.objects.using(using).filter(pk=1).update(likes=F("likes") + 1)
        except OperationalError:
            continue
        return


def lose_update(using: str, alias: str | None = None) -> None:
    """Both touch one table by one name, and lose an update by two."""
    Handle.objects.using(using).update(uses=F("uses") + 1)
    post = Post.objects.using(alias or using).get(pk=1)
    post.likes += 1
    post.save(using=alias or using)


def add_by(using: str, alias: str | None = None) -> None:
    Handle.objects.using(using).update(uses=F("uses") + 1)
    Post.objects.using(alias or using).filter(pk=1).update(likes=F("likes") + 1)


def count_in_cache(alias: str, using: str) -> None:
    Handle.objects.using(using).update(uses=F("uses") + 1)
    cache = caches[alias]
    cache.set("visits", cache.get("visits", 0) + 1)


def count_in_cache_at_once(alias: str, using: str) -> None:
    Handle.objects.using(using).update(uses=F("uses") + 1)
    caches[alias].incr("visits")
