"""The settings of a process, layer by layer: which are not as their module has them, and how those travel."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from ..base import pickling
from ..exceptions import UnpicklableError

if TYPE_CHECKING:
    from collections.abc import Iterator


def unfold(settings: Any) -> tuple[dict[str, Any], set[str], dict[str, Any], str | None]:
    """Return the overridden settings, the deleted ones, the ones below them, and the settings module."""
    from django.conf import Settings, UserSettingsHolder, global_settings

    _ = settings.DATABASES  # makes a lazy settings object read its module
    overrides: dict[str, Any] = {}
    deleted: set[str] = set()
    holder: Any = settings._wrapped
    while isinstance(holder, UserSettingsHolder) and holder.default_settings is not global_settings:
        for name, value in _own(holder).items():
            if name not in deleted:
                overrides.setdefault(name, value)
        deleted |= vars(holder)["_deleted"] - overrides.keys()
        holder = holder.default_settings
    if not isinstance(holder, Settings):
        return overrides, deleted, _available(_own(holder)), None
    written = as_written(holder.SETTINGS_MODULE)
    changed = {name: value for name, value in _own(holder).items() if value is not written.get(name, holder)}
    return overrides, deleted, _available(changed), holder.SETTINGS_MODULE


def _available(settings: dict[str, Any]) -> dict[str, Any]:
    """Django 6.1 refuses the settings of e-mail that MAILERS takes the place of, in one breath with it."""
    import django.conf

    refused = getattr(django.conf, "DEPRECATED_EMAIL_SETTINGS", ()) if "MAILERS" in settings else ()
    return {name: value for name, value in settings.items() if name not in refused}


def as_written(module: str | None) -> dict[str, Any]:
    """What the settings are before anybody changes them."""
    from django.conf import global_settings

    return {**_own(global_settings), **(_own(sys.modules[module]) if module else {})}


def is_early(name: str, value: Any, written: Mapping[str, Any], module: str | None) -> bool:
    """Whether a setting can be in place before the project starts, as if its settings module had it.

    Of `settings.configure()` nobody knows what was given and what was made of it later; classes and
    functions of an app that is installed were not there yet.
    """
    if module is None:
        return not any(_is_of_app(each) for each in _parts(value))
    return all(map(_is_plain, _parts(value))) and (name not in written or _are_alike(value, written[name]))


def _parts(value: Any) -> Iterator[Any]:
    """A value, and what is in it if it is a collection."""
    yield value
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        for part in value:
            yield from _parts(part)


def _is_plain(value: Any) -> bool:
    """Whether settings modules hold such values, and apps do not make them of others."""
    from django.utils.functional import Promise

    module = type(value).__module__
    return isinstance(value, Promise | PurePath) or (
        module in ("builtins", "collections", "datetime", "decimal", "re", "uuid", "zoneinfo")
        and not isinstance(value, type | FunctionType | BuiltinFunctionType | MethodType)
    )


def _are_alike(one: Any, other: Any) -> bool:
    if one is None or other is None or (isinstance(one, list | tuple) and isinstance(other, list | tuple)):
        return True
    return isinstance(one, type(other)) or isinstance(other, type(one))


def _is_of_app(value: Any) -> bool:
    from django.apps import apps

    kind = value if isinstance(value, type | FunctionType) else type(value)
    return any(f"{kind.__module__}.".startswith(f"{config.name}.") for config in apps.get_app_configs())


def is_same(own: Any, pickled: bytes) -> bool:
    """Whether a value is equal to a pickled one; functions that cannot be imported are by their code."""
    with suppress(Exception):  # what cannot be compared differs
        if pickling.dumps(own) == pickled:
            return True
        other = pickling.loads(pickled)
        return bool(own == other) or own.__code__ == other.__code__
    return False


def kind_of(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _own(holder: object) -> dict[str, Any]:
    """The settings of one layer, without those that are handed over in a way of their own."""
    return {
        name: value
        for name, value in vars(holder).items()
        if name.isupper() and name not in ("DATABASES", "SETTINGS_MODULE")
    }


def dump_base(settings: Mapping[str, Any]) -> tuple[dict[str, bytes], dict[str, str]]:
    """Pickle what can be; of the rest return the types."""
    pickled: dict[str, bytes] = {}
    left: dict[str, str] = {}
    for name, value in settings.items():
        try:
            pickled[name] = pickling.dumps(value, f"The setting {name}")
        except UnpicklableError:
            left[name] = kind_of(value)
    return pickled, left
