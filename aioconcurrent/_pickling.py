"""The only module that knows pickle.

Three ways exist.  Plain data of ours goes through `dumps` and `loads`.  What a
user passes to a call goes through `dump_arguments`, which carries by value what
a new process could not import.  What a call raises goes through `dump_error`,
with its traceback, cause, context and notes, and can always be loaded: where
the exception itself cannot be rebuilt, a `RemoteError` tells all of it.
"""

from __future__ import annotations

import importlib
import io
import pickle
import sys
import threading
import traceback
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .exceptions import RemoteError, UnpicklableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

loads = pickle.loads
_SINGLETONS = (
    ("django.conf", "settings"),
    ("django.db", "connection"),
    ("django.db", "connections"),
    ("django.db", "router"),
    ("django.core.cache", "cache"),
    ("django.core.cache", "caches"),
)
_by_value = threading.Lock()  # cloudpickle keeps the modules that go by value in a global


def dumps(value: object, what: str = "An object of this library") -> bytes:
    """Pickle `value`; by reference where that works, by value where it does not.

    Raises:
        UnpicklableError: Neither works; the text begins with `what`.
    """
    try:
        return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception:
        return _dump_by_value(value, what)


def dump_arguments(value: object, modules: Iterable[str], what: str) -> bytes:
    """Pickle what goes to a call; functions and classes of `modules`, and of the main one, go by value.

    Raises:
        UnpicklableError: It cannot be pickled; the text begins with `what`.
    """
    with _going_by_value(modules):
        return _dump_by_value(value, what)


def is_importable(name: str) -> bool:
    """Whether a new process with our `sys.path` would import the same module under `name`."""
    module = sys.modules.get(name)
    if module is None or name == "__main__":
        return False
    package = name.rpartition(".")[0]
    if package and not is_importable(package):
        return False
    path = list(getattr(sys.modules[package], "__path__", ())) if package else None
    for finder in sys.meta_path:
        spec = finder.find_spec(name, path)
        if spec is not None:
            here = getattr(module, "__spec__", None)
            file = getattr(module, "__file__", None) or getattr(here, "origin", None)
            return spec.origin == (file or None) or spec.origin in ("built-in", "frozen")
    return False


def dump_error(error: BaseException) -> bytes:
    """Pickle an exception with all that hangs on it; `load_error` rebuilds it, or says why it cannot."""
    whole, reason = b"", ""
    try:
        whole = _dump_exception(error)
    except Exception as problem:
        reason = _describe(problem)
    told = (type(error).__qualname__, text_of(error), reason, "".join(traceback.format_exception(error)))
    frames = _dump_exception(error.__traceback__)
    return pickle.dumps((whole, told, frames))


def load_error(payload: bytes) -> BaseException:
    """Rebuild what `dump_error` made."""
    whole, (name, message, reason, formatted), frames = pickle.loads(payload)
    if whole:
        try:
            error = pickle.loads(whole)
            if isinstance(error, BaseException):
                return error
            reason = f"unpickling it gave a {type(error).__qualname__}"
        except Exception as problem:
            reason = _describe(problem)
    return RemoteError(name, message, reason, formatted).with_traceback(pickle.loads(frames))


def _dump_by_value(value: object, what: str) -> bytes:
    import cloudpickle

    class ByValuePickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            name = _name_of_singleton(obj)
            return super().reducer_override(obj) if name is None else (_get_singleton, name)

    buffer = io.BytesIO()
    try:
        ByValuePickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    except Exception as error:
        raise UnpicklableError(what, _describe(error)) from error
    return buffer.getvalue()


def _name_of_singleton(obj: object) -> tuple[str, str] | None:
    """Django's globals, which a function that goes by value means as they are where it runs."""
    if not type(obj).__module__.startswith("django."):
        return None
    return next((name for name in _SINGLETONS if getattr(sys.modules.get(name[0]), name[1], None) is obj), None)


def _get_singleton(module: str, name: str) -> object:
    return getattr(importlib.import_module(module), name)


@contextmanager
def _going_by_value(names: Iterable[str]) -> Iterator[None]:
    import cloudpickle

    with _by_value:
        registered = cloudpickle.list_registry_pickle_by_value()
        modules = [sys.modules[name] for name in names if name != "__main__" and name not in registered]
        for module in modules:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            for module in modules:
                cloudpickle.unregister_pickle_by_value(module)


def _dump_exception(error: BaseException | TracebackType | None) -> bytes:
    import cloudpickle
    from tblib import pickling_support

    class ExceptionPickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, BaseException) and type(obj).__module__ == "builtins":
                return _reduce_builtin(obj)
            if isinstance(obj, BaseException):
                return pickling_support.pickle_exception(obj)
            if isinstance(obj, TracebackType):
                return pickling_support.pickle_traceback(obj)
            return super().reducer_override(obj)

    buffer = io.BytesIO()
    ExceptionPickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(error)
    return buffer.getvalue()


def _reduce_builtin(error: BaseException) -> tuple[Any, ...]:
    """As tblib does, but by the constructor: attributes such as `SystemExit.code` are set by nothing else."""
    from tblib import pickling_support

    reduced: Any = error.__reduce__()
    function, args, *state = reduced
    extras = (error.__cause__, error.__traceback__, error.__context__, error.__suppress_context__)
    return pickling_support.unpickle_exception, (function, args, *extras, getattr(error, "__notes__", None)), *state


def _describe(error: Exception) -> str:
    return f"{type(error).__qualname__}: {text_of(error)}"


def text_of(error: BaseException) -> str:
    """The error's text; some have none that can be had."""
    try:
        return str(error)
    except Exception as problem:
        return f"<no text: its __str__ raised {type(problem).__qualname__}>"
