"""Calls for many, and calls that have done something before they ask the database."""

from pathlib import Path

from django.db.models import F

from tests.project.office.models import Handle, Post


def add(amount: int, using: str) -> None:
    post = Post.objects.using(using).get(pk=1)
    post.likes += amount
    post.save()


def add_at_once(amount: int, using: str) -> None:
    Post.objects.using(using).filter(pk=1).update(likes=F("likes") + amount)


def take_name(name: str, using: str) -> None:
    Handle.objects.using(using).create(name=name)


def number_from_file(path: Path, using: str) -> int:
    number = int(path.read_text()) + 1
    add_at_once(1, using)
    path.write_text(str(number))
    return number
