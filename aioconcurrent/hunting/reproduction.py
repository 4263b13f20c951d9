"""A ready-made test of a race: it fails as long as the race is there, and passes when it is fixed.

Its text contains everything that the race was found with: the rows of that moment, and the calls.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields
from textwrap import indent
from typing import TYPE_CHECKING, Any

from ..base.calls import import_name
from .actions import Sent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ..base.calls import Call
    from ..results.exploration import Exploration
    from ..running.question import Question
    from .actions import Action
    from .findings import Finding

_ROWS = 500  # in all tables together
_MADE_BY_MIGRATIONS = frozenset({"contenttypes.contenttype", "auth.permission", "sites.site", "admin.logentry"})
_LITERALS = (str, bytes, int, float, bool, type(None))
_IMPORTS = {  # needed where the text has the name
    "get_user_model": "from django.contrib.auth import get_user_model",
    "serializers": "from django.core import serializers",
    "transaction": "from django.db import transaction",
    "TransactionTestCase": "from django.test import TransactionTestCase",
    "Sent(": "from aioconcurrent.hunting.actions import Sent",
    "import_string": "from django.utils.module_loading import import_string",
    "explore": "from aioconcurrent.sync import explore",
}

_TEXT = '''\
"""{who}: {anomaly}.

{written}
It passes when the race is fixed.
"""

{imports}

{rows}class {name}(TransactionTestCase):
    def test_it_ends_as_in_some_serial_order(self):
{setup}        calls = [
{calls}
        ]
        explore(*calls{options}).assert_no_race()
'''
_ROWS_BEGIN, _ROWS_END = 'ROWS = r"""\n', '\n"""'
_SETUP = """\
        with transaction.atomic():
            for row in serializers.deserialize("json", ROWS):
                row.save()
"""


class NotWrittenError(Exception):
    """What a test would need cannot be written down."""


def ready_test(finding: Finding, actions: Sequence[Action], ignored: Sequence[str]) -> str:
    """The text of a module of tests of a race that was hunted, with the rows that this thread's connections see now.

    Raises:
        NotWrittenError: There is too much of them, or an argument is no plain value.
    """
    return _module(
        who=finding.who,
        anomaly=finding.anomaly,
        written=f"Written by `aioconcurrent hunt --write-test`, from {finding.test}.",
        rows=_rows(),
        calls=actions,
        options=[f"ignore={list(ignored)!r}"] if ignored else [],
    )


def copied_test(exploration: Exploration, question: Question, test: str) -> str:
    """The same of a race that a test of the project has explored; what is secret is stars in it.

    Raises:
        NotWrittenError: There is too much of the rows, or something is neither plain nor can be imported.
    """
    found = exploration.counterexample
    assert found is not None
    return without_secrets(
        _module(
            who=" and ".join(found.calls),
            anomaly=found.anomaly,
            written=f"Copied from {test}.\nIts order alone: pytest FILE --aioconcurrent-replay '{found.token}'",
            rows=_rows(),
            calls=question.calls,
            options=[*_options(question)],
        )
    )


def without_secrets(test: str) -> str:
    """The text of a test as others may see it: with stars for passwords, keys and the like."""
    from ..sql.secrets import Secrets, hidden_in, hidden_texts

    _, _, rest = test.partition(_ROWS_BEGIN)
    rows = json.loads(rest.partition(_ROWS_END)[0]) if rest else []
    return Secrets((), {*hidden_texts(), *hidden_in(each["fields"] for each in rows)}).text(test)


def _module(
    *, who: str, anomaly: str, written: str, rows: str, calls: Sequence[Action | Call], options: Sequence[str]
) -> str:
    if '"""' in rows:
        raise NotWrittenError("a row holds three quotes")
    text = _TEXT.format(
        who=_in_docstring(who),
        anomaly=anomaly,
        written=_in_docstring(written),
        imports="{imports}",
        rows=f"{_ROWS_BEGIN}{rows}{_ROWS_END}\n\n\n" if rows != "[]" else "",
        name=re.sub(r"\W", "", anomaly.title()),
        setup=_SETUP if rows != "[]" else "",
        calls=indent("\n".join(f"({_call(each)})," for each in calls), " " * 12),
        options="".join(f", {each}" for each in options),
    )
    imports = [line for name, line in _IMPORTS.items() if name in text]
    foreign = [line for line in imports if "aioconcurrent" not in line]
    return text.replace("{imports}", "\n".join([*foreign, "", *(each for each in imports if each not in foreign), ""]))


def _in_docstring(text: str) -> str:
    return text.replace("\\", "/").replace('"', "'")


def _options(question: Question) -> Iterator[str]:
    """What `explore` was given besides the calls."""
    from ..running.question import names_of

    if question.check is not None:
        yield f"check={_imported(question.check)}"
    if question.refusals:
        yield f"refusals=[{', '.join(map(_imported, question.refusals))}]"
    if question.ignored:
        yield f"ignore={names_of(question.ignored)!r}"


def _imported(value: Any) -> str:
    """An expression for a function or class that can be imported."""
    name = import_name(value)
    if name is None:
        raise NotWrittenError(f"{value!r} cannot be imported")
    return f"import_string({name.replace(':', '.')!r})"


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


def _call(action: Action | Call) -> str:
    name = import_name(action.function)
    if name is None:
        raise NotWrittenError(f"{action.function!r} cannot be imported")
    return f"{name!r}, {_source(list(action.args))}, {_source(dict(action.kwargs))}"


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
    raise NotWrittenError(f"a {type(value).__qualname__} cannot be written as code")


def _joined(values: Iterable[Any]) -> str:
    return ", ".join(map(_source, values))


def _is_user(value: Any) -> bool:
    from django.contrib.auth import get_user_model

    return isinstance(value, get_user_model()) and value.pk is not None
