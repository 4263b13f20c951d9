"""E-mails that calls have sent: from `django.core.mail.outbox` of their processes into that of the test."""

from __future__ import annotations

import copy
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .._text import printable
from ..base import pickling
from ..exceptions import UnpicklableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def sent() -> tuple[bytes, ...]:
    """The messages in the outbox of this process, pickled."""
    mail = sys.modules.get("django.core.mail")
    return tuple(pickled for message in getattr(mail, "outbox", ()) if (pickled := _pickle(message)))


def receive(messages: Iterable[bytes]) -> None:
    """Put messages into the outbox of this process."""
    for message in messages:
        from django.core import mail

        try:
            vars(mail).setdefault("outbox", []).append(pickling.load_from_call(message))
        except pickling.UnreadableError as problem:
            text = f"A message that a call has sent is missing in the outbox of the test: {problem}"
            warnings.showwarning(printable(text), RuntimeWarning, __file__, 0)


@contextmanager
def forgetting() -> Iterator[None]:
    """Let the outbox of this process be after a block what it was before."""
    mail = sys.modules.get("django.core.mail")
    outbox = getattr(mail, "outbox", None)
    before = list(outbox or ())
    try:
        yield
    finally:
        if outbox is not None:
            outbox[:] = before


def _pickle(message: Any) -> bytes | None:
    message = copy.copy(message)
    for name in {"connection", "_connection"} & vars(message).keys():  # its second name is that of Django 6.1
        vars(message)[name] = None  # a backend, which may hold a lock or a socket
    try:
        return pickling.dumps(message, f"The message {message.subject!r}")
    except UnpicklableError as error:
        text = f"{error.what} is missing in the outbox of the test: {error.reason}"
        warnings.showwarning(
            printable(text), RuntimeWarning, __file__, 0
        )  # whatever the filters: nothing may raise here
        return None
