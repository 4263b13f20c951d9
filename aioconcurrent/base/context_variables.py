"""Context variables and thread locals of modules, carried into the calls with their values.

Libraries keep the current tenant, user or request in them, and what the test has set must
hold in its calls.  Only single values are carried over, such as a name, a number, a model
instance or a dataclass.  Dicts and lists are mostly caches, which calls have to start without.
"""

from __future__ import annotations

import contextlib
import datetime
import decimal
import enum
import sys
import uuid
from contextvars import ContextVar
from dataclasses import is_dataclass
from threading import local
from typing import TYPE_CHECKING, Any

from asgiref.local import Local

from . import pickling
from .sources import owner_of_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Place = tuple[str, str, str]  # module, name in it, and name in what is there; empty for a context variable

_HOLDERS = (ContextVar, local, Local)
_PLAIN = (
    str,
    bytes,
    int,
    float,
    bool,
    type(None),
    uuid.UUID,
    decimal.Decimal,
    datetime.date,
    datetime.timedelta,
    enum.Enum,
)
_looked_through: dict[str, list[str]] = {}  # the names of holders, by module


def capture() -> dict[Place, bytes]:
    """Return the values that are there now, pickled."""
    found: dict[Place, bytes] = {}
    for module, name, holder in _holders():
        for key, value in _values(holder):
            if _is_single(value):
                with contextlib.suppress(Exception):  # it stays behind
                    found[module, name, key] = pickling.dumps(value)
    return found


def enter(pickled: Mapping[Place, bytes]) -> None:
    """Give this thread and its context these values."""
    for (module, name, key), value in pickled.items():
        with contextlib.suppress(Exception):  # a module of the test itself need not be there
            holder: Any = getattr(sys.modules[module], name)
            if isinstance(holder, ContextVar):
                holder.set(pickling.loads(value))
            else:
                setattr(holder, key, pickling.loads(value))


def _holders() -> Iterator[tuple[str, str, Any]]:
    for module_name, module in list(sys.modules.items()):
        if module_name not in _looked_through:
            _looked_through[module_name] = _names(module)
        for name in _looked_through[module_name]:
            holder = vars(module).get(name)
            if isinstance(holder, _HOLDERS):
                yield module_name, name, holder


def _names(module: Any) -> list[str]:
    """Holders of modules that are neither Python's nor Django's, nor tools of tests."""
    file = getattr(module, "__file__", None)
    if file is None or owner_of_file(file) == "machinery":
        return []
    # by type: isinstance() would ask a lazy object for its __class__ and so evaluate it
    return [name for name, value in list(vars(module).items()) if issubclass(type(value), _HOLDERS)]


def _values(holder: Any) -> Iterator[tuple[str, Any]]:
    """What a holder has here, by the names in it; asgiref does not list those of its own."""
    with contextlib.suppress(LookupError, AttributeError, TypeError):
        if isinstance(holder, ContextVar):
            yield "", holder.get()
            return
        values: Any = holder
        if isinstance(holder, Local):
            data = holder._storage._data.get({})
            values = getattr(data, "data", data)
        yield from list(values.items() if isinstance(values, dict) else vars(values).items())


def _is_single(value: Any) -> bool:
    if isinstance(value, tuple | frozenset):
        return all(map(_is_single, value))
    is_row = not isinstance(value, type) and hasattr(type(value), "_meta")
    return isinstance(value, _PLAIN) or is_row or (is_dataclass(value) and not isinstance(value, type))
