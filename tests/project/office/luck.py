"""Calls whose values come from the clock and from chance, beside such as do not."""

import json
import os
import random
import secrets
import time
import uuid
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.crypto import get_random_string

from tests.project.office.models import Bill, Handle, Post

SOURCES = {
    "uuid4": lambda: uuid.uuid4().hex,
    "uuid1": lambda: str(uuid.uuid1()),
    "secrets": lambda: secrets.token_urlsafe(12),
    "urandom": lambda: os.urandom(8).hex(),
    "random": lambda: str(random.random()),
    "SystemRandom": lambda: str(random.SystemRandom().randrange(10**9)),
    "get_random_string": lambda: get_random_string(12),
    "time_ns": lambda: str(time.time_ns()),
}


def make_token(source: str, using: str) -> str | None:
    """Made when it is first asked for; the caller is told."""
    post = Post.objects.using(using).get(pk=1)
    if post.token is None:
        post.token = SOURCES[source]()
        post.save()
    return post.token


def make_token_once(source: str, using: str) -> str | None:
    Post.objects.using(using).filter(pk=1, token=None).update(token=SOURCES[source]())
    return Post.objects.using(using).get(pk=1).token


def append_event(name: str, using: str) -> None:
    post = Post.objects.using(using).get(pk=1)
    post.history.append({"id": str(uuid.uuid4()), "at": timezone.now().isoformat(), "name": name})
    post.save(update_fields=["history"])


def append_event_as_text(name: str, using: str) -> None:
    post = Post.objects.using(using).get(pk=1)
    lines = json.loads(post.note or "[]")
    post.note = json.dumps([*lines, {"at": time.time(), "name": name}])
    post.save(update_fields=["note"])


def number_with_clock(using: str) -> None:
    """A number that both can get, in one text with a time that they cannot."""
    number = Bill.objects.using(using).count() + 1
    Bill.objects.using(using).create(code=f"{timezone.now():%Y-%m-%dT%H:%M:%S.%f}/{number}")


def number_with_token(using: str) -> dict[str, Any]:
    number = Bill.objects.using(using).count() + 1
    Bill.objects.using(using).create(code=uuid.uuid4().hex)
    return {"number": number, "token": uuid.uuid4().hex}


def bill_with_token(using: str) -> str:
    return Bill.objects.using(using).create(code=uuid.uuid4().hex).code


def register(using: str) -> tuple[int, str]:
    """Take the next number, and try again with a new token where somebody else was quicker."""
    while True:
        number, token = Handle.objects.using(using).count() + 1, uuid.uuid4().hex
        try:
            with transaction.atomic(using):
                Handle.objects.using(using).create(name=f"number {number}")
                Post.objects.using(using).create(likes=number, token=token)
        except IntegrityError:
            continue
        return number, token


def take_down(using: str) -> None:
    """In two steps: what is down has no alert that is due."""
    Post.objects.using(using).filter(pk=1).update(active=False)
    Post.objects.using(using).filter(pk=1).update(due=None)


def ping(using: str) -> None:
    """What is up has an alert that is due, unless it is pinged again."""
    Post.objects.using(using).filter(pk=1).update(active=True, due=timezone.now())


def like(using: str) -> None:
    post = Post.objects.using(using).get(pk=1)
    post.likes += 1
    post.save()


def like_with_time(using: str) -> None:
    Post.objects.using(using).filter(pk=1).update(likes=F("likes") + 1, due=timezone.now())


def like_with_time_of_database(using: str) -> None:
    Post.objects.using(using).filter(pk=1).update(likes=F("likes") + 1, due=Now())


def save_time_of_database(using: str) -> None:
    """The text is lost beside a time that nobody can foresee."""
    post = Post.objects.using(using).get(pk=1)
    Post.objects.using(using).filter(pk=1).update(note=f"{post.note}x", due=Now())
