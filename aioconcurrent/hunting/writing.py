"""A ready test of a race: it fails as long as the race is there, and passes when it is mended.

It has in its text all that the race was found with: the rows of that moment, and both calls.
"""

from __future__ import annotations

import re
from dataclasses import fields
from textwrap import indent
from typing import TYPE_CHECKING, Any

from .actions import Sent, asend, run_command, send

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .actions import Action
    from .findings import Finding

_ROWS = 500  # in all tables together
_MADE_BY_MIGRATIONS = frozenset({"contenttypes.contenttype", "auth.permission", "sites.site", "admin.logentry"})
_LITERALS = (str, bytes, int, float, bool, type(None))
_NAMES = {send: "send", asend: "asend", run_command: "run_command"}

_TEXT = '''\
"""{who}: {anomaly}.

Written by `aioconcurrent hunt --write-test`, from {test}.
It passes when the race is mended.
"""

from django.contrib.auth import get_user_model
from django.core import serializers
from django.db import transaction
from django.test import TransactionTestCase

from aioconcurrent.hunting.actions import Sent, asend, run_command, send
from aioconcurrent.sync import explore

ROWS = r"""
{rows}
"""


class {name}(TransactionTestCase):
    def test_it_ends_as_in_some_serial_order(self):
        with transaction.atomic():
            for row in serializers.deserialize("json", ROWS):
                row.save()
        one = (
{one}
        )
        other = (
{other}
        )
        explore(one, other{ignore}).assert_no_race()
'''


class NotWrittenError(Exception):
    """What a test would need cannot be written down."""


def ready_test(finding: Finding, actions: Sequence[Action], ignored: Sequence[str]) -> str:
    """The text of a module of tests, with the rows that this thread's connections see now.

    Raises:
        NotWrittenError: There is too much of them, or an argument is no plain value.
    """
    rows = _rows()
    if '"""' in rows:
        raise NotWrittenError("a row holds three quotes")
    one, other = (indent(_call(action), " " * 12) for action in actions)
    return _TEXT.format(
        who=finding.who.replace("\\", "/").replace('"', "'"),
        anomaly=finding.anomaly,
        test=finding.test.replace("\\", "/").replace('"', "'"),
        rows=rows,
        name=re.sub(r"\W", "", finding.anomaly.title()),
        one=one,
        other=other,
        ignore=f", ignore={list(ignored)!r}" if ignored else "",
    )


def _rows() -> str:
    """All rows, as Django's serializers have them; those that migrations make are there already."""
    from django.apps import apps
    from django.core import serializers

    found: list[Any] = []
    for model in apps.get_models(include_auto_created=False):
        if model._meta.managed and not model._meta.proxy and model._meta.label_lower not in _MADE_BY_MIGRATIONS:
            found += model._base_manager.order_by("pk")[: _ROWS + 1 - len(found)]
        if len(found) > _ROWS:
            raise NotWrittenError(f"there are more than {_ROWS} rows")
    text: str = serializers.serialize("json", found, indent=0)
    return text


def _call(action: Action) -> str:
    function = repr(action.function) if isinstance(action.function, str) else _NAMES.get(action.function)
    return f"{function},\n{_source(list(action.args))},\n{_source(dict(action.kwargs))},"


def _source(value: Any) -> str:
    """An expression that makes a value anew."""
    if type(value) in _LITERALS:
        return repr(value)
    if type(value) is dict:
        return "{" + ", ".join(f"{_source(key)}: {_source(each)}" for key, each in value.items()) + "}"
    if type(value) is list:
        return f"[{_joined(value)}]"
    if type(value) is tuple:
        return f"({_joined(value)},)" if value else "()"
    if isinstance(value, Sent):
        given = {each.name: getattr(value, each.name) for each in fields(Sent)}
        return "Sent(" + ", ".join(f"{name}={_source(each)}" for name, each in given.items()) + ")"
    if _is_user(value):
        return f"get_user_model()._default_manager.get(pk={_source(value.pk)})"
    raise NotWrittenError(f"a value of {type(value).__qualname__} is no plain one")


def _joined(values: Iterable[Any]) -> str:
    return ", ".join(map(_source, values))


def _is_user(value: Any) -> bool:
    from django.contrib.auth import get_user_model

    return isinstance(value, get_user_model()) and value.pk is not None
