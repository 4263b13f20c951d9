"""Calls that draw from chance, and calls that number by what the database has numbered."""

import base64
import hashlib
import os
import random
import secrets
import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from os import urandom
from random import Random, SystemRandom
from typing import Any

from django.db import connections
from django.db.models import CharField, F, Value
from django.db.models.functions import Cast, Concat, Now
from django.utils import timezone
from django.utils.crypto import get_random_string

from .models import Counter, Coupon, Note

made_at_import = Random()


def draw(pk: int, who: str, using: str) -> dict[str, Any]:
    """Draw once from everything, after a statement that the other call has to meet."""
    Counter.objects.using(using).filter(pk=pk).update(value=F("value") + 1, name=who)
    with tempfile.NamedTemporaryFile() as file:
        name = file.name
    return {
        "random": random.random(),
        "made at import": made_at_import.random(),
        "made now": Random().random(),
        "system": SystemRandom().random(),
        "urandom": os.urandom(8),
        "urandom by its own name": urandom(8),
        "getrandom": os.getrandom(8),
        "secrets": secrets.token_hex(),
        "django": get_random_string(12),
        "uuid1": uuid.uuid1(),
        "uuid4": uuid.uuid4(),
        "temporary file": name,
        "time": time.time(),
        "now": timezone.now(),
    }


def wait(pk: int, who: str, using: str) -> tuple[datetime, datetime, float]:
    """Look at the clocks before and after some real time."""
    Counter.objects.using(using).filter(pk=pk).update(value=F("value") + 1, name=who)
    before, begun = datetime.now(UTC), time.monotonic()
    time.sleep(0.02)
    return before, datetime.now(UTC), time.monotonic() - begun


def draw_in_order(pk: int, who: str, using: str) -> tuple[float, list[str]]:
    """Draw a number, and the order of a set, which the seed of hashes decides."""
    Counter.objects.using(using).filter(pk=pk).update(value=F("value") + 1, name=who)
    return made_at_import.random(), list({f"text {number}" for number in range(20)})


def number_by_the_last(way: str, using: str) -> object:
    """Number a coupon by the last key there is: two calls at once give one number."""
    coupons = Coupon.objects.using(using)
    last = coupons.order_by("-pk").first()
    assert last is not None
    if way == "only returned":
        coupons.create()
        return last.pk + 1
    if way == "the row before":
        coupons.create(code=str(last.pk))
        return None
    code = {"plain": "{}", "padded": "{:06d}", "dated": "2024/{}"}[way].format(last.pk + 1)
    return coupons.create(code=code).code


def number_by_its_own(way: str, using: str) -> str:
    """Number a coupon by its own key, which is safe."""
    ways: dict[str, Callable[[int], str]] = {
        "plain": str,
        "padded": "{:06d}".format,
        "dated": "2024/{}".format,
        "hashed": lambda key: hashlib.md5(str(key).encode()).hexdigest(),
        "encoded": lambda key: base64.b64encode(f"Coupon:{key}".encode()).decode(),
    }
    coupon = Coupon.objects.using(using).create()
    coupon.code = ways[way](coupon.pk)
    coupon.save()
    return coupon.code


def _time_of_database(using: str) -> str:
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT CURRENT_TIMESTAMP")
        return str(cursor.fetchone()[0])


def write_line(pk: int, who: str, using: str) -> None:
    """Add a line with the database's time in it to a text that was read."""
    note = Note.objects.using(using).get(pk=pk)
    note.text += f"{_time_of_database(using)} {who}\n"
    note.save(update_fields=["text"])


def add_to_history(pk: int, who: str, using: str) -> None:
    """The same in JSON."""
    note = Note.objects.using(using).get(pk=pk)
    note.history.append({"at": _time_of_database(using), "who": who})
    note.save(update_fields=["history"])


def add_line_at_once(pk: int, who: str, using: str) -> None:
    """Let the database add the line."""
    line = Concat(Cast(Now(), CharField()), Value(f" {who}\n"))
    Note.objects.using(using).filter(pk=pk).update(text=Concat("text", line))


def stamp(pk: int, using: str) -> None:
    """Count and note when, in one statement; and insert a row whose time the database writes."""
    Note.objects.using(using).filter(pk=pk).update(at=Now(), times=F("times") + 1)
    Note.objects.using(using).create(text="made")


def stamp_and_sign(pk: int, who: str, using: str) -> None:
    """Note when in one statement, and who in another."""
    Note.objects.using(using).filter(pk=pk).update(at=Now())
    Note.objects.using(using).filter(pk=pk).update(text=who)


_DRAWN = {"sqlite": "hex(randomblob(16))", "postgresql": "md5(random()::text)", "mysql": "md5(rand())"}


def make_token(pk: int, using: str) -> str:
    """Have the database draw a token, once."""
    note = Note.objects.using(using).get(pk=pk)
    if not note.text:
        with connections[using].cursor() as cursor:
            cursor.execute(f"SELECT {_DRAWN[cursor.db.vendor]}")
            note.text = cursor.fetchone()[0]
        note.save(update_fields=["text"])
    return f"/confirm/{note.text}/"


def count_and_log(pk: int, amount: int, using: str) -> int:
    """Add to a counter, and log what was seen before."""
    before = Counter.objects.using(using).get(pk=pk).value
    Note.objects.using(using).create(text=f"was {before}")
    Counter.objects.using(using).filter(pk=pk).update(value=F("value") + amount)
    return amount
