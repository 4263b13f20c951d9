"""The settings whose values no text may show, as Django's own error pages hide them."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHORTEST = 8  # characters; what is shorter stands in other texts by chance
_OWN_SECRETS = frozenset({"SECRET_KEY", "SECRET_KEY_FALLBACKS", "EMAIL_HOST_PASSWORD"})  # of Django's settings
_NO_SECRETS = frozenset({"KEY_PREFIX", "KEY_FUNCTION"})  # of a cache
_DOTTED = re.compile(r"\w+(\.\w+)+")  # the name of a class or a model


def hidden_texts() -> frozenset[str]:
    """Return the secret texts among the settings."""
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
    return frozenset(text for text in _secrets(named, hides) if len(text) >= _SHORTEST and not _DOTTED.fullmatch(text))


def _secrets(value: Any, hides: Any, *, is_hidden: bool = False) -> Iterator[str]:
    """The texts in dictionaries and lists under a name that is hidden."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _secrets(inner, hides, is_hidden=isinstance(name, str) and hides(name))
    elif isinstance(value, list | tuple) and is_hidden:
        for inner in value:
            yield from _secrets(inner, hides, is_hidden=True)
    elif isinstance(value, str) and is_hidden:
        yield value
