"""Calls of which no statement through Django says all that they do, and calls that wait where few look for it."""

from typing import Any

from django.db import connections, transaction
from django.db.models import F

from tests.project.office.models import Handle, Job, Post, Reply
from tests.project.office.statements import sql


def _driver(using: str) -> Any:
    connections[using].ensure_connection()
    return connections[using].connection


def like_by_driver(using: str) -> None:
    """Read and written past Django, with something between that Django knows of."""
    cursor = _driver(using).cursor()
    cursor.execute("SELECT likes FROM office_post WHERE id = 1")
    (likes,) = cursor.fetchone()
    Handle.objects.using(using).count()
    cursor.execute(f"UPDATE office_post SET likes = {int(likes) + 1} WHERE id = 1")
    if connections[using].vendor == "mysql":
        _driver(using).commit()
    Reply.objects.using(using).create(post_id=2)


def like_by_own_connection(using: str) -> None:
    """A connection that Django does not know."""
    likes = Post.objects.using(using).get(pk=1).likes
    Handle.objects.using(using).count()
    own = connections[using].copy()  # whose cursors nothing watches
    connection = own.get_new_connection(own.get_connection_params())
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE office_post SET likes = {likes + 1} WHERE id = 1")
    connection.commit()
    connection.close()
    Reply.objects.using(using).create(post_id=2)


def copy_bill(using: str) -> None:
    """One bill, once, by COPY."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM office_bill WHERE code = 'once'")
        (there,) = cursor.fetchone()
        if not there:
            with cursor.copy("COPY office_bill (number, code) FROM STDIN") as copy:
                copy.write_row((0, "once"))
    Reply.objects.using(using).create(post_id=2)


def like_and_reply(using: str) -> None:
    with transaction.atomic(using):
        Post.objects.using(using).filter(pk=1).update(likes=F("likes") + 1)
        Reply.objects.using(using).create(post_id=2)


def write_numbers(column: str, using: str) -> None:
    """How many replies there are, and how many likes, as of one moment."""
    replies = "(SELECT count(*) FROM office_reply)"
    sql(using, f"UPDATE office_post SET {column} = {replies} || ':' || likes WHERE id = 1")


def add_under_lock(amount: int, using: str) -> None:
    """Whoever comes last has multiplied what those before have left."""
    with transaction.atomic(using):
        post = Post.objects.using(using).select_for_update().get(pk=1)
        post.likes = post.likes * 2 + amount
        post.save()


def hold(using: str, view: str) -> None:
    with transaction.atomic(using):
        sql(using, f"SELECT likes FROM {view} WHERE id = 1")
        Handle.objects.using(using).count()


def try_to_lock(using: str) -> bool:
    with transaction.atomic(using):
        return bool(Post.objects.using(using).select_for_update(skip_locked=True).filter(pk=1))


def read_twice(using: str, source: str) -> tuple[Any, Any]:
    """Two looks, in autocommit, at what depends on jobs."""
    return tuple(sql(using, f"SELECT count(*) FROM {source}") for _ in range(2))


def claim_all(using: str) -> None:
    Job.objects.using(using).update(owner="a")


def move_numbers(using: str, table: str) -> None:
    with transaction.atomic(using):
        sql(using, f"UPDATE {table} SET n = n - 10 WHERE id = 1")
        sql(using, f"UPDATE {table} SET n = n + 10 WHERE id = 2")


def sum_numbers(using: str, table: str) -> int:
    return int(sql(using, f"SELECT sum(n) FROM {table}"))


def lock_one_by_one(using: str, reverse: bool = False) -> int:
    """Rows are locked as they are fetched."""
    total = 0
    with transaction.atomic(using):
        posts = Post.objects.using(using).select_for_update().order_by("-pk" if reverse else "pk")
        for post in posts.iterator(chunk_size=1):
            Handle.objects.using(using).count()
            total += post.likes + 1
    return total


def read_one_by_one(using: str) -> list[int]:
    """All from one cursor: as of one moment."""
    with transaction.atomic(using):
        return [post.likes for post in Post.objects.using(using).order_by("pk").iterator(chunk_size=1)]


def like_second(using: str) -> None:
    with transaction.atomic(using):
        Post.objects.using(using).filter(pk=2).update(likes=5)
        Job.objects.using(using).create(owner="x")


def like_both(using: str) -> None:
    with transaction.atomic(using):
        for pk in (1, 2):
            Post.objects.using(using).filter(pk=pk).update(likes=F("likes") + 1)


def read_as(role: str, using: str) -> tuple[Any, Any]:
    """Two looks at posts by a role to whom a policy shows some of them."""
    seen = []
    for _ in range(2):
        with transaction.atomic(using):
            sql(using, f"SET LOCAL ROLE {role}")
            seen.append(sql(using, "SELECT count(*) FROM office_post"))
    return seen[0], seen[1]
