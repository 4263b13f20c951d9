"""Calls that wait for locks where it is easy to wait wrongly, and loops that may never end."""

from typing import Any

from django.core.cache import cache
from django.db import DatabaseError, IntegrityError, transaction
from django.db.models import F

from tests.project.office.models import Bill, Handle, Job, Post, Reply
from tests.project.office.statements import sql

# SQLite: readers keep writers from their commit, and a statement in autocommit commits at its end.


def close_and_note(using: str) -> bool:
    """What is inserted comes back from the INSERT, which commits when that was fetched."""
    with transaction.atomic(using):
        closed = Post.objects.using(using).filter(pk=1, active=True).update(active=False)
    if closed:
        Reply.objects.using(using).create(post_id=2)
    return bool(closed)


def read_twice(using: str) -> tuple[Any, Any]:
    with transaction.atomic(using):
        return tuple(Post.objects.using(using).get(pk=1).active for _ in range(2))  # type: ignore[return-value]


def count(using: str) -> tuple[int, int]:
    with transaction.atomic(using):
        return Reply.objects.using(using).count(), Handle.objects.using(using).count()


def reply(using: str) -> None:
    Reply.objects.using(using).create(post_id=1)


def take(using: str) -> bool:
    return Handle.objects.using(using).get_or_create(name="x")[1]


def read_then_like(using: str) -> None:
    with transaction.atomic(using):
        Job.objects.using(using).count()
        Post.objects.using(using).filter(pk=2).update(likes=F("likes") + 1)


async def take_async(using: str) -> bool:
    return (await Handle.objects.using(using).aget_or_create(name="x"))[1]


async def take_async_unless_taken(using: str) -> bool:
    if await Handle.objects.using(using).filter(name="x").aexists():
        return False
    await Handle.objects.using(using).acreate(name="x")
    return True


async def like_async(using: str) -> None:
    post = await Post.objects.using(using).aget(pk=1)
    post.likes += 1
    await post.asave()


# MariaDB: keys that were deleted and not yet purged are locked like others.


def insert_names(names: str, using: str) -> None:
    with transaction.atomic(using):
        for name in names:
            Handle.objects.using(using).create(name=name)


def insert_keys(keys: list[int], using: str) -> None:
    with transaction.atomic(using):
        for key in keys:
            Handle.objects.using(using).create(pk=key, name=f"n{key}")


def store(name: str, using: str) -> None:
    """A row is locked that is not there, and then made."""
    with transaction.atomic(using):
        if Handle.objects.using(using).select_for_update().filter(name=name).first() is None:
            Handle.objects.using(using).create(name=name)


# Timeouts of the application or of the server.


def like_within(milliseconds: int, using: str) -> None:
    with transaction.atomic(using):
        sql(using, f"SET LOCAL statement_timeout = {milliseconds}")
        Post.objects.using(using).filter(pk=1).update(likes=F("likes") + 1)
        Job.objects.using(using).count()


def like_under_lock(using: str) -> None:
    with transaction.atomic(using):
        post = Post.objects.using(using).select_for_update().get(pk=1)
        post.likes += 1
        post.save()


# Loops.


def name_bill(using: str, attempts: int | None) -> str:
    """Another number is tried, though it is the name that is taken: it is taken for ever."""
    found = Bill.objects.using(using).filter(code="red").first()
    if found is not None:
        return "there"
    number = 0
    while attempts is None or number < attempts:
        number += 1
        try:
            with transaction.atomic(using):
                Handle.objects.using(using).create(name="red")
                Bill.objects.using(using).create(code="red", number=number)
        except IntegrityError:
            continue
        return "made"
    raise RuntimeError("no free name")


def hand_over(using: str) -> None:
    """Whoever finds a flag waits until it is gone; two that have both raised it wait for each other."""
    Reply.objects.using(using).create(post_id=1)
    while Reply.objects.using(using).filter(post_id=1).count() > 1:
        continue
    Reply.objects.using(using).filter(post_id=1).delete()


def name_looking_again(using: str) -> str:
    for number in range(1, 6):
        if Bill.objects.using(using).filter(code="red").exists():
            return "there"
        try:
            with transaction.atomic(using):
                Handle.objects.using(using).create(name="red")
                Bill.objects.using(using).create(code="red", number=number)
        except IntegrityError:
            continue
        return "made"
    raise RuntimeError("no free name")


# Rules and errors.


def take_or_fail(using: str) -> None:
    if not Handle.objects.using(using).filter(name="x").exists():
        Handle.objects.using(using).create(name="x")


def withdraw(using: str) -> None:
    with transaction.atomic(using):
        post = Post.objects.using(using).get(pk=1)
        if Post.objects.using(using).filter(pk=1, likes=post.likes).update(likes=post.likes + 1) != 1:
            raise DatabaseError("somebody was faster")


# Caches may forget.


def read_setting(using: str) -> str:
    value: str | None = cache.get("setting")
    if value is None:
        value = Post.objects.using(using).get(pk=1).note
        cache.set("setting", value)
    return value


def read_setting_under_lock(using: str) -> str:
    value: str | None = cache.get("setting")
    if value is None:
        with transaction.atomic(using):
            value = Post.objects.using(using).select_for_update().get(pk=1).note
            cache.set("setting", value)
    return value


def write_setting(using: str) -> None:
    with transaction.atomic(using):
        Post.objects.using(using).filter(pk=1).update(note="new")
        transaction.on_commit(lambda: cache.delete("setting"), using=using)


def write_setting_in_block(using: str) -> None:
    with transaction.atomic(using):
        Post.objects.using(using).filter(pk=1).update(note="new")
        cache.delete("setting")


def forget_and_like(using: str) -> None:
    """Two that only forget: nothing stale can be left."""
    Post.objects.using(using).filter(pk=1).update(likes=F("likes") + 1)
    cache.delete("setting")
