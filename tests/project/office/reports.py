"""Programs after public reports of races in applications, and as they were mended."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.db import IntegrityError, OperationalError, connections, transaction
from django.db.models import Count, F, Func, JSONField, OuterRef, Subquery, Sum, Value
from django.utils import timezone

from tests.project.office.models import (
    Bill,
    Card,
    Document,
    Enrolment,
    Folder,
    Handle,
    Job,
    Label,
    Post,
    Profile,
    Reply,
)


def first(model: Any, using: str, *, lock: bool = False, **found_by: Any) -> Any:
    rows = model.objects.using(using)
    return (rows.select_for_update() if lock else rows).filter(**found_by).order_by("pk").first()


def start(using: str) -> None:
    """The rows that all programs begin with."""
    Post.objects.using(using).bulk_create([Post(pk=pk, note="old") for pk in (11, 12)])
    Job.objects.using(using).bulk_create([Job(pk=11), Job(pk=12, owner="done")])
    Folder.objects.using(using).create(pk=11)
    Folder.objects.using(using).bulk_create([Folder(pk=pk, parent_id=11) for pk in (12, 13)])
    Label.objects.using(using).bulk_create([Label(pk=pk) for pk in (11, 12)])
    Card.objects.using(using).create(pk=11, balance=100)
    Enrolment.objects.using(using).create(pk=11, student=7, course=7)
    Document.objects.using(using).bulk_create(
        [Document(pk=11 + guarded, name="plan", deleted=True, guarded=bool(guarded)) for guarded in (0, 1)]
    )
    Handle.objects.using(using).create(pk=11, name="token")


def start_queued(using: str) -> None:
    start(using)
    Job.objects.using(using).filter(pk=12).update(owner=None)


def start_enrolled(using: str) -> None:
    start(using)
    Enrolment.objects.using(using).create(pk=12, student=1, course=1)


# netbox#10282: a label is unique in some folders only, as clean() sees to.


def name_label(name: str, using: str, lock: bool = False) -> None:
    with transaction.atomic(using) if lock else nullcontext():
        folder = first(Folder, using, lock=lock, pk=11)
        if folder.enforced and Label.objects.using(using).filter(folders=folder, name=name).exists():
            raise ValidationError("taken")
        Label.objects.using(using).create(name=name).folders.add(folder)


# InvenTree#12478: what is left is computed from what was taken.


def allocate(model: str, using: str, lock: bool = False) -> str:
    with transaction.atomic(using) if lock else nullcontext():
        post = first(Post, using, lock=lock, pk=11)
        taken = Reply.objects.using(using).filter(post=post).aggregate(sum=Sum("amount"))["sum"] or 0
        taken += Bill.objects.using(using).filter(before=post.pk).aggregate(sum=Sum("number"))["sum"] or 0
        if taken:
            return "nothing left"
        if model == "reply":
            Reply.objects.using(using).bulk_create([Reply(post=post, amount=5)])
        else:
            Bill.objects.using(using).bulk_create([Bill(before=post.pk, number=5)])
        return "allocated"


# courtlistener#3120: async code looks, and makes.


async def merge(using: str) -> str:
    try:
        document = await Document.objects.using(using).aget(name="new")
    except Document.DoesNotExist:
        await Document.objects.using(using).acreate(name="new")
        return "created"
    await document.asave()
    return "merged"


async def merge_once(using: str) -> str:
    return "created" if (await Enrolment.objects.using(using).aget_or_create(student=1, course=1))[1] else "merged"


# django-annoying#41: a related row is made when it is first asked for.


def open_profile(using: str) -> None:
    if not hasattr(first(Post, using, pk=11), "profile"):
        Profile(post_id=11).save(using=using)


def open_profile_once(using: str) -> None:
    Profile.objects.using(using).get_or_create(post_id=11)


# StackOverflow 65390532: overlapping bookings; `bookings` is made by the test, with a constraint or without.


def book(first: int, last: int, using: str, table: str, caught: bool = False) -> str:
    hours = f"int4range({first}, {last})"
    with connections[using].cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table} WHERE hours && {hours}")
        if cursor.fetchone()[0]:
            return "taken"
        try:
            with transaction.atomic(using):
                cursor.execute(f"INSERT INTO {table} VALUES ({hours})")
        except IntegrityError:
            if not caught:
                raise
            return "taken"
    return "booked"


# django-bulk-sync#29, zulip#19054: rows in their own order.


def sync(pks: Sequence[int], using: str, ordered: bool = False, lock: bool = False) -> None:
    with transaction.atomic(using):
        posts = Post.objects.using(using)
        if lock:
            list(posts.select_for_update().filter(pk__in=pks).order_by("pk"))
        for pk in sorted(pks) if ordered else pks:
            posts.filter(pk=pk).update(likes=F("likes") + 1)


def upsert(courses: Sequence[int], using: str) -> None:
    with transaction.atomic(using):
        for course in courses:
            Enrolment.objects.using(using).update_or_create(student=3, course=course, defaults={"grade": 5})


# commcare-hq#36619: which are missing is asked first.


def add_handles(names: Sequence[str], using: str, ignore: bool = False) -> None:
    handles = Handle.objects.using(using)
    known = set(handles.filter(name__in=names).values_list("name", flat=True))
    handles.bulk_create([Handle(name=name) for name in names if name not in known], ignore_conflicts=ignore)


# freesound#1080: a number of rows is kept beside them.


def comment(how: str, using: str) -> None:
    with transaction.atomic(using):
        posts = Post.objects.using(using).filter(pk=11)
        if how == "lock":
            posts.select_for_update().get()
        Reply.objects.using(using).create(post_id=11)
        replies = Reply.objects.using(using).filter(post=OuterRef("pk")).values("post").annotate(n=Count("pk"))
        match how:
            case "count" | "lock":
                posts.update(likes=Reply.objects.using(using).filter(post_id=11).count())
            case "subquery":
                posts.update(likes=Subquery(replies.values("n")))
            case _:
                posts.update(likes=F("likes") + 1)


# openedx#12714: get_or_create inside of a transaction that has read.


def enrol(using: str, atomic: bool = True) -> None:
    with transaction.atomic(using) if atomic else nullcontext():
        Enrolment.objects.using(using).get_or_create(student=1, course=1)


def grade(grade: int, using: str) -> None:
    with transaction.atomic(using):
        Enrolment.objects.using(using).update_or_create(student=1, course=1, defaults={"grade": grade})


# wafflebase#500: folders are moved into each other.


def move(folder: int, into: int, using: str, lock: bool = False) -> None:
    with transaction.atomic(using):
        if lock:
            first(Folder, using, lock=True, pk=11)
        above = first(Folder, using, pk=into)
        while above is not None:
            if above.pk == folder:
                raise ValueError("into itself")
            above = above.parent
        Folder.objects.using(using).filter(pk=folder).update(parent_id=into)


# eventyay#2830: a card is paid with under a lock, and refunded without.


def pay(using: str) -> bool:
    with transaction.atomic(using):
        card = first(Card, using, lock=True, pk=11)
        if card.balance < 80:
            return False
        card.balance -= 80
        card.save()
        return True


def refund(using: str, lock: bool = False) -> None:
    with transaction.atomic(using) if lock else nullcontext():
        card = first(Card, using, lock=lock, pk=11)
        card.balance += 50
        card.save()


def pay_in_database(using: str) -> bool:
    try:
        with transaction.atomic(using):
            Card.objects.using(using).filter(pk=11).update(balance=F("balance") - 80)
    except IntegrityError:
        return False
    return True


def refund_in_database(using: str) -> None:
    Card.objects.using(using).filter(pk=11).update(balance=F("balance") + 50)


# pretalx#2411: an invitation that two accept; authentik#19967: a link that is used twice.


def accept(label: int, using: str, lock: bool = False) -> str:
    invite = None if lock else first(Handle, using, name="token")
    with transaction.atomic(using):
        invite = first(Handle, using, lock=True, name="token") if lock else invite
        if invite is None:
            return "invalid"
        first(Folder, using, pk=11).label_set.add(label)
        invite.delete()
    return "welcome"


def use_link(using: str, lock: bool = False) -> str:
    with transaction.atomic(using) if lock else nullcontext():
        token = first(Handle, using, lock=lock, name="token")
        if token is None:
            return "no such link"
        Reply.objects.using(using).create(post_id=11)
        token.delete()
    return "logged in"


def use_link_by_deleting(using: str) -> str:
    if not Handle.objects.using(using).filter(name="token").delete()[0]:
        return "no such link"
    Reply.objects.using(using).create(post_id=11)
    return "logged in"


# omnigent#3304: the last two owners leave.


def leave(pk: int, using: str, lock: bool = False) -> None:
    with transaction.atomic(using):
        folders = Folder.objects.using(using).filter(parent_id=11).order_by("pk")
        if len(folders.select_for_update() if lock else folders) < 2:
            raise ValueError("the last one")
        Folder.objects.using(using).filter(pk=pk).delete()


# saleor#19615: a lock that nobody evaluates.


def allocate_all(amount: int, using: str, lock: bool) -> None:
    with transaction.atomic(using):
        posts = Post.objects.using(using).filter(pk__in=[11, 12]).order_by("pk")
        locked = posts.select_for_update()
        rows = list(locked if lock else posts)
        for post in rows:
            post.likes += amount
        Post.objects.using(using).bulk_update(rows, ["likes"])


# pretix#4067: lines are locked, and what they belong to is changed.


def price(pk: int, amount: int, using: str, of: Sequence[str]) -> None:
    with transaction.atomic(using):
        reply = Reply.objects.using(using).select_related("post").select_for_update(of=tuple(of)).get(pk=pk)
        reply.post.likes += amount - reply.amount
        reply.post.save()
        reply.amount = amount
        reply.save()


def start_priced(using: str) -> None:
    start(using)
    Reply.objects.using(using).bulk_create([Reply(pk=pk, post_id=11) for pk in (11, 12)])


# StackOverflow 37654072: labels of a folder are added to, replaced and cleared.


def set_labels(labels: Sequence[int], using: str, how: str) -> None:
    with transaction.atomic(using) if how == "lock" else nullcontext():
        folder = first(Folder, using, lock=how == "lock", pk=11)
        if how == "clear":
            folder.label_set.clear()
        if how in ("add", "clear"):
            folder.label_set.add(*labels)
        else:
            folder.label_set.set(labels)


# saleor#17375: keys of one JSON column.


class _Merged(Func):
    output_field = JSONField()

    def as_sqlite(self, compiler: Any, connection: Any, **kwargs: Any) -> Any:
        return self.as_sql(compiler, connection, function="JSON_PATCH", **kwargs)

    def as_mysql(self, compiler: Any, connection: Any, **kwargs: Any) -> Any:
        return self.as_sql(compiler, connection, function="JSON_MERGE_PATCH", **kwargs)

    def as_postgresql(self, compiler: Any, connection: Any, **kwargs: Any) -> Any:
        return self.as_sql(compiler, connection, template="(%(expressions)s)", arg_joiner=" || ", **kwargs)


def start_noted(using: str) -> None:
    start(using)
    Post.objects.using(using).filter(pk=11).update(history={"a": 0})


def put_key(key: str, using: str) -> None:
    post = first(Post, using, pk=11)
    post.history[key] = 1
    post.save(update_fields=["history"])


def put_key_in_database(key: str, using: str) -> None:
    Post.objects.using(using).filter(pk=11).update(history=_Merged(F("history"), Value({key: 1}, JSONField())))


# thunderbird-accounts#951: whoever finds a row locked leaves it alone.


def activate(using: str) -> None:
    with transaction.atomic(using):
        post = first(Post, using, lock=True, pk=11)
        post.note, post.active = "pro", False
        post.save()


def call_back(using: str, how: str = "") -> None:
    try:
        with transaction.atomic(using) if how else nullcontext():
            posts = Post.objects.using(using)
            post = (posts.select_for_update(nowait=True) if how else posts).get(pk=11)
            if post.note == "old":
                post.likes = 1
                post.save()
    except OperationalError:
        if how == "raising":
            raise


# diode-netbox-plugin#167: NULL is not equal to NULL.


def ingest(course: int | None, using: str) -> None:
    Enrolment.objects.using(using).get_or_create(student=1, course=course)


# eventyay#1924: paid twice.


def mark_paid(using: str, lock: bool = False) -> str:
    with transaction.atomic(using) if lock else nullcontext():
        post = first(Post, using, lock=lock, pk=11)
        if post.note == "paid":
            return "is paid already"
        Reply.objects.using(using).create(post=post)
        post.note = "paid"
        post.save()
        return "paid"


# django-safedelete#119: what was deleted is restored while one of its name is made.


def create_document(using: str, guarded: bool = False) -> str:
    documents = Document.objects.using(using)
    if not guarded and documents.filter(name="plan", deleted=False).exists():
        return "taken"
    try:
        with transaction.atomic(using):
            documents.create(name="plan", guarded=guarded)
    except IntegrityError:
        return "taken"
    return "created"


def restore_document(using: str, guarded: bool = False) -> str:
    documents = Document.objects.using(using)
    if not guarded and documents.filter(name="plan", deleted=False).exists():
        return "taken"
    try:
        with transaction.atomic(using):
            documents.filter(name="plan", deleted=True, guarded=guarded).update(deleted=False)
    except IntegrityError:
        return "taken"
    return "restored"


# django-payments#491: the row is locked, and an instance from before is used.


def confirm(using: str) -> str:
    with transaction.atomic(using):
        post = first(Post, using, lock=True, pk=11)
        if post.note != "old":
            return "too late"
        post.note = "confirmed"
        post.save()
        return "confirmed"


def fail(using: str, refresh: bool = False) -> str:
    post = first(Post, using, pk=11)
    with transaction.atomic(using):
        first(Post, using, lock=True, pk=11)
        if refresh:
            post.refresh_from_db(using=using)
        if post.note != "old":
            return "too late"
        post.note = "failed"
        post.save()
        return "failed"


# squad#1051: update_or_create with a constraint and without.


def summarise(likes: int, using: str) -> None:
    Bill.objects.using(using).update_or_create(code="summary", defaults={"number": likes})


def summarise_once(using: str, **values: int) -> None:
    Enrolment.objects.using(using).update_or_create(student=1, course=1, defaults=values)


# saleor#5457: a task is queued inside of the transaction that makes its row.


def place_order(using: str, later: bool) -> None:
    with transaction.atomic(using):
        made = Reply.objects.using(using).create(post_id=11)
        if later:
            transaction.on_commit(lambda: cache.set("queue", made.pk), using=using)
        else:
            cache.set("queue", made.pk)


def work_off(using: str) -> str:
    pk = cache.get("queue")
    if pk is None:
        return "nothing to do"
    cache.delete("queue")
    reply = Reply.objects.using(using).get(pk=pk)
    reply.amount += 1
    reply.save()
    return "done"


# flagsmith#1401: a task is locked, and let go before it is marked.


def work(using: str, how: str) -> bool:
    with transaction.atomic(using):
        jobs = Job.objects.using(using).select_for_update(skip_locked=how != "waiting")
        job = jobs.filter(owner=None).order_by("pk").first()
        if job is not None and how == "claiming":
            job.owner = "running"
            job.save()
        if how in ("within", "waiting") and job is not None:
            _run(job, using)
    if how in ("after", "claiming") and job is not None:
        _run(job, using)
    return job is not None


def _run(job: Job, using: str) -> None:
    Reply.objects.using(using).create(post_id=11, amount=job.pk)
    job.owner = "done"
    job.save()


# django-rest-framework#5181: times of requests are kept in a cache.


def allow(using: str, counted: bool = False) -> bool:
    if counted:
        cache.add("count", 0)
        return bool(cache.incr("count") <= 1)
    history = cache.get("history", [])
    if history:
        return False
    cache.set("history", [timezone.now().timestamp()])
    return True


# django-tastypie#1003: a counter is moved with F(), and read afterwards.


def draw(using: str, how: str) -> int:
    with transaction.atomic(using) if how else nullcontext():
        post = first(Post, using, lock=how == "lock", pk=11) if how != "update" else Post(pk=11)
        if how == "lock":
            post.likes += 1
            post.save()
        else:
            Post.objects.using(using).filter(pk=11).update(likes=F("likes") + 1)
        return Post.objects.using(using).get(pk=11).likes


# pulpcore#2230: overlapping sets are touched.


def touch(pks: Sequence[int], using: str) -> None:
    with transaction.atomic(using):
        rows = Post.objects.using(using).filter(pk__in=pks).order_by("pk").select_for_update(skip_locked=True)
        Post.objects.using(using).filter(pk__in=rows.values("pk")).update(due=timezone.now())


# dj-stripe#903: an event is delivered twice, and the error caught in the wrong place.


def receive(using: str, how: str) -> str:
    with transaction.atomic(using):
        if how == "look" and Handle.objects.using(using).filter(name="event").exists():
            return "again"
        try:
            with transaction.atomic(using) if how == "savepoint" else nullcontext():
                Handle.objects.using(using).create(name="event")
        except IntegrityError:
            if how == "look":
                raise
            Handle.objects.using(using).get(name="event")
            return "again"
    return "new"


# addons#9094: whole rows are saved.


def patch(field: str, value: object, using: str, only: bool = False) -> None:
    post = first(Post, using, pk=11)
    setattr(post, field, value)
    post.save(update_fields=[field] if only else None)
