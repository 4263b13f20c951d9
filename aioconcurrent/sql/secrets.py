"""What a story must not show: passwords, tokens, keys, session data.

A secret is recognised by its column, by its form, or because the caller knows it, and is
then hidden wherever it occurs.  It is shown as stars with a number, so that equal secrets
can be told from different ones.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from .._text import Verbatim, shown, text_of
from ..base.trace import Run, Step
from ..exceptions import WrappedError, error_of
from .accesses import accesses

_COLUMNS = re.compile(
    r"passw|pwd|secret|token|session_data|session_key|api_?key|(?:private|access|signing)_?key|credential|signature|otp",
    re.IGNORECASE,
)
_FORMS = re.compile(
    r"\b(?:pbkdf2_\w+|argon2\w*|bcrypt\w*|scrypt|md5|sha1)\$[^\s'\"]+"  # hashes of Django's hashers
    r"|\beyJ[\w-]{8,}[.:][\w-]+[.:][\w-]+"  # tokens, and what Django has signed
    r"|(?<=sessions\.cache)[a-z0-9]{32}|(?<=sessions\.cached_db)[a-z0-9]{32}"
)
_SHORTEST = 6  # characters of what is hidden for its column, so that flags and kinds stay
_SHORTEST_INSIDE = 8  # of what is looked for inside of other texts


_SHORTEST_SETTING = 8  # what is shorter stands in other texts by chance
_OWN_SECRETS = frozenset({"SECRET_KEY", "SECRET_KEY_FALLBACKS", "EMAIL_HOST_PASSWORD"})  # of Django's settings
_NO_SECRETS = frozenset({"KEY_PREFIX", "KEY_FUNCTION"})  # of a cache
_DOTTED = re.compile(r"\w+(\.\w+)+")  # the name of a class or a model


class Secrets:
    """What must not be shown of one run.

    Args:
        steps: Of the run.
        hidden: Texts that are secret wherever they stand.
    """

    def __init__(self, steps: Sequence[Step], hidden: Collection[str] = ()) -> None:
        self._stars: dict[object, str] = {}
        for secret in (*_in_columns(steps), *sorted(hidden)):
            self._stars.setdefault(secret, f"****{len(self._stars) + 1}")
        texts = [each for each in self._stars if isinstance(each, str) and len(each) >= _SHORTEST_INSIDE]
        texts.sort(key=len, reverse=True)
        self._texts = re.compile("|".join(map(re.escape, texts))) if texts else None

    def text(self, text: str) -> str:
        """A text with stars for the secrets in it."""
        if self._texts is not None:
            text = self._texts.sub(lambda match: self._stars[match[0]], text)
        return _FORMS.sub(lambda match: self._star(match[0]), text)

    def _star(self, secret: str) -> str:
        return self._stars.setdefault(secret, f"****{len(self._stars) + 1}")

    def value(self, value: Any) -> Any:
        """A value with stars for itself, or for the secrets in it."""
        if isinstance(value, str):
            return self._stars.get(value) or self.text(value)
        if isinstance(value, Mapping):
            return {name: self.value(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.value(inner) for inner in value]
        return self._stars.get(value, value) if isinstance(value, bytes) else value

    def steps(self, steps: Sequence[Step]) -> tuple[Step, ...]:
        """The steps of the run, to be shown."""
        return tuple(map(self._step, steps))

    def _step(self, step: Step) -> Step:
        parameters = step.operation.parameters
        operation = replace(
            step.operation,
            text=self.text(step.operation.text),
            parameters=None if parameters is None else tuple(map(self.value, parameters)),
        )
        return replace(
            step,
            operation=operation,
            columns=tuple(map(self.text, step.columns)),
            rows=tuple(tuple(map(self.value, row)) for row in step.rows),
            error=step.error and self.text(step.error),
        )

    def run(self, run: Run) -> Run:
        """The run, to be shown."""
        tables = {table: [dict(self.value(row)) for row in rows] for table, rows in run.tables.items()}
        return Run(tuple(map(self.outcome, run.outcomes)), tables, self.steps(run.steps), run.private)

    def outcome(self, outcome: Any) -> Any:
        """What a call came to; something with another `repr` stands for what would show a secret."""
        if isinstance(outcome, str):
            return self.value(outcome)
        if (error := error_of(outcome)) is not None:
            return self._error(outcome, error)
        told = shown(outcome)
        return outcome if self.text(told) == told else Verbatim(self.text(told))

    def _error(self, outcome: Any, error: BaseException) -> Any:
        said = text_of(error)
        if self.text(said) == said:
            return outcome
        stand_in = type(type(error).__name__, (Exception,), {})(self.text(said))
        return WrappedError(stand_in.with_traceback(error.__traceback__), getattr(outcome, "call", ""))


def _in_columns(steps: Sequence[Step]) -> Iterator[object]:
    """The values of columns whose names say that they are secret."""
    for access in accesses(steps):
        for row in (*access.rows, *access.written):
            yield from (value for name, value in row.items() if _is_secret(name, value))
        for name, values in access.where.items():
            yield from (value for value in sorted(values, key=repr) if _is_secret(name, value))


def _is_secret(name: str, value: object) -> bool:
    return isinstance(value, str | bytes) and len(value) >= _SHORTEST and _COLUMNS.search(name) is not None


def hidden_in(rows: Iterable[Mapping[str, object]]) -> set[str]:
    """Return the texts in columns whose names say that they are secret."""
    return {str(value) for row in rows for name, value in row.items() if _is_secret(name, value)}


def hidden_texts() -> frozenset[str]:
    """Return the texts among the settings that Django's own error pages hide."""
    from django.conf import global_settings, settings
    from django.views.debug import SafeExceptionReporterFilter

    if not settings.configured:
        return frozenset()
    search = SafeExceptionReporterFilter.hidden_settings.search

    def hides(name: str) -> bool:
        if name in _NO_SECRETS or (hasattr(global_settings, name) and name not in _OWN_SECRETS):
            return False  # Django hides more of its own than is secret: AUTH_USER_MODEL, PASSWORD_HASHERS
        return search(name) is not None

    named = {}
    for name in filter(str.isupper, dir(settings)):
        with suppress(Exception):  # Django refuses to tell an empty SECRET_KEY
            named[name] = getattr(settings, name)
    return frozenset(
        text for text in _in_settings(named, hides) if len(text) >= _SHORTEST_SETTING and not _DOTTED.fullmatch(text)
    )


def _in_settings(value: Any, hides: Any, *, is_hidden: bool = False) -> Iterator[str]:
    """The texts in dictionaries and lists under a name that is hidden."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _in_settings(inner, hides, is_hidden=isinstance(name, str) and hides(name))
    elif isinstance(value, list | tuple) and is_hidden:
        for inner in value:
            yield from _in_settings(inner, hides, is_hidden=True)
    elif isinstance(value, str) and is_hidden:
        yield value
