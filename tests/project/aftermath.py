"""Calls that leave something behind besides their results."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from typing import Any

from django.core import mail
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.mail import EmailMessage, get_connection, send_mail


def send(subject: str) -> int:
    return send_mail(subject, "body", "shop@example.org", ["ann@example.org"])


def send_with_everything(subject: str) -> None:
    message = EmailMessage(subject, "body", "shop@example.org", ["ann@example.org"], connection=get_connection())
    message.attach("list.csv", "a;b", "text/csv")
    message.send()


def send_and_fail(subject: str) -> None:
    send(subject)
    raise LookupError(subject)


def send_what_cannot_travel(subject: str) -> None:
    send(subject)
    vars(mail.outbox[0])["lock"] = threading.Lock()


def send_what_exits_on_arrival(subject: str) -> None:
    send(subject)
    send(f"after {subject}")
    vars(mail.outbox[0])["reason"] = Exiting()


class Exiting:
    """Can be pickled, and ends the process that unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.exit, ("not today",)


def save(name: str) -> str:
    return default_storage.save(name, ContentFile(b"saved"))


def log(text: str) -> None:
    logging.getLogger("tests.rows").warning(text)


def warn(text: str) -> None:
    warnings.warn(text, UserWarning, stacklevel=1)


class RowHandler(logging.Handler):
    """Writes records to the database, as projects do that show their log in the admin."""

    def emit(self, record: Any) -> None:
        from tests.project.shop.models import Account

        Account.objects.create(balance=int(record.getMessage()))
