"""Calls of one statement in autocommit that reads and writes, and such as are safe."""

from typing import Any

from django.db import connections, transaction
from django.db.models import Exists, F, OuterRef, Subquery

from tests.project.office.models import Handle, Job, Post, Reply


def sql(using: str, statement: str, *parameters: Any) -> Any:
    """Run a statement; returns the first column of its first row, or how many rows it changed."""
    with connections[using].cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return (cursor.fetchone() or (None,))[0] if cursor.description else cursor.rowcount


def raise_over_other(pk: int, using: str) -> None:
    """Each of two rows is to be one higher than the other."""
    other = f"(SELECT likes FROM (SELECT likes FROM office_post WHERE id = {3 - pk}) AS other)"
    sql(using, f"UPDATE office_post SET likes = {other} + 1 WHERE id = {pk}")


def use_handles(names: list[str], using: str) -> None:
    """One statement that locks a row for each name, in their order."""
    rows = [Handle(name=name) for name in names]
    unique = None if connections[using].vendor == "mysql" else ["name"]
    Handle.objects.using(using).bulk_create(rows, update_conflicts=True, update_fields=["uses"], unique_fields=unique)


def claim_with_cte(who: str, using: str) -> int:
    free = "WITH free AS (SELECT id FROM office_job WHERE owner IS NULL ORDER BY id LIMIT 1)"
    return int(sql(using, f"{free} UPDATE office_job SET owner = %s WHERE id IN (SELECT id FROM free)", who))


def claim_from(who: str, using: str) -> int:
    free = "(SELECT id FROM office_job WHERE owner IS NULL ORDER BY id LIMIT 1) AS free"
    return int(sql(using, f"UPDATE office_job SET owner = %s FROM {free} WHERE office_job.id = free.id", who))


def claim_skipping(who: str, using: str) -> int:
    """The subquery locks what it finds, and does not wait for what others have locked."""
    with transaction.atomic(using):
        free = Job.objects.using(using).select_for_update(skip_locked=True).filter(owner=None).order_by("pk")
        return Job.objects.using(using).filter(pk=Subquery(free.values("pk")[:1])).update(owner=who)


def claim_this(who: str, using: str) -> int:
    return Job.objects.using(using).filter(pk=1, owner=None).update(owner=who)


def like_all(using: str) -> None:
    Post.objects.using(using).update(likes=F("likes") + 1)


def close_twos(using: str) -> int:
    """The example of the manual of PostgreSQL, section 13.2.1."""
    return Post.objects.using(using).filter(likes=2).update(active=False)


def copy_replies(using: str) -> None:
    """INSERT ... SELECT of all replies, without a condition."""
    sql(using, "INSERT INTO office_reply (post_id, amount) SELECT post_id, amount FROM office_reply")


def close_lonely(using: str) -> int:
    replies = Reply.objects.using(using).filter(post=OuterRef("pk"))
    return Post.objects.using(using).filter(~Exists(replies), likes=0).update(active=False)


def take_once(using: str) -> int:
    """Like INSERT ... WHERE NOT EXISTS, by a unique key."""
    ignore = connections[using].vendor == "mysql"
    text = "INSERT {}INTO office_handle (name, uses) VALUES ('x', 0) {}"
    return int(sql(using, text.format("IGNORE " * ignore, "" if ignore else "ON CONFLICT DO NOTHING")))


def use_handle(using: str) -> int:
    return Handle.objects.using(using).filter(name="x").update(uses=F("uses") + 1)
