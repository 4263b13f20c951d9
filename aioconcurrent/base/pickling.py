"""The only module that knows pickle.

There are three ways.  Plain data of ours goes through `dumps` and `loads`.  What a user
passes to a call goes through `dump_arguments`, which pickles by value what a new process
could not import.  What a call raises goes through `dump_error`, with its traceback, cause,
context and notes, and can always be loaded: if the exception itself cannot be rebuilt, a
`RemoteError` stands for it.

Pickling runs code of the user's, which may raise anything, even `SystemExit`.  That is
always reported as an error about the object, and never ends the process.
"""

from __future__ import annotations

import importlib
import io
import pickle
import sys
import threading
import traceback
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .._text import text_of
from ..exceptions import RemoteError, UnpicklableError, WrappedError, chain_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Reducer = Callable[[Any, Callable[[Any], Any]], Any]

loads = pickle.loads
_FRAMES_KEPT = 500  # of a traceback, at its beginning and again at its end
_TOLD = 64 * 1024  # characters of a printed traceback, likewise
_RECURSION = 1000  # what pickling needs at least; a call may have set less
_SINGLETONS = (
    ("django.conf", "settings"),
    ("django.db", "connection"),
    ("django.db", "connections"),
    ("django.db", "router"),
    ("django.core.cache", "cache"),
    ("django.core.cache", "caches"),
)
_by_value = threading.Lock()  # cloudpickle keeps the modules that go by value in a global


class Fields:
    """Lets instances of a dataclass with slots be pickled as its arguments, far faster than by its own way."""

    __slots__: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, name) for name in self.__slots__)


def dumps(value: object, what: str = "An object of this library") -> bytes:
    """Pickle `value`; by reference where that works, by value where it does not.

    Raises:
        UnpicklableError: Neither works; the text begins with `what`.
    """
    try:
        return _dump_by_reference(value)
    except Exception:
        return _dump_by_value(value, what)


def dump_arguments(value: object, modules: Iterable[str], what: str, reduce: Reducer | None = None) -> bytes:
    """Pickle what goes to a call; functions and classes of `modules`, and of the main one, go by value.

    Args:
        reduce: Is asked first what becomes of an object; it is also given what reduces a function by
            value, though it has a name.

    Raises:
        UnpicklableError: It cannot be pickled; the text begins with `what`.
    """
    with _going_by_value(modules):
        return _dump_by_value(value, what, reduce)


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


class UnreadableError(Exception):
    """What a call made cannot be unpickled here; the argument says why."""


def load_from_call(payload: bytes) -> Any:
    """Unpickle what the code of a call made.

    Raises:
        UnreadableError: It raised something, whatever that is.
    """
    try:
        return pickle.loads(payload)
    except KeyboardInterrupt as interruption:
        if _interrupts(payload):
            raise UnreadableError(_describe(interruption)) from None
        raise
    except BaseException as problem:
        raise UnreadableError(_describe(problem)) from None


def dump_error(error: BaseException) -> bytes:
    """Pickle an exception with all that hangs on it; `load_error` rebuilds it, or says why it cannot."""
    whole, reason, frames = b"", "", b""
    with _room_to_recurse():
        with suppress(BaseException):  # `__notes__` may be anything
            _note_cuts(error)
        try:
            whole = _dump_exception(error)
        except BaseException as problem:
            reason = _describe(problem)
        told = (type(error).__qualname__, text_of(error), reason, _format(error))
        with suppress(BaseException):
            frames = _dump_exception(error.__traceback__)
    return pickle.dumps((whole, told, frames))


def load_error(payload: bytes) -> BaseException:
    """Rebuild what `dump_error` made."""
    whole, (name, message, reason, formatted), frames = pickle.loads(payload)
    if whole:
        try:
            error = load_from_call(whole)
            if isinstance(error, BaseException):
                return error
            reason = f"unpickling it gave a {type(error).__qualname__}"
        except UnreadableError as problem:
            reason = str(problem)
    trace = pickle.loads(frames) if frames else None
    return RemoteError(name, message, reason, formatted).with_traceback(trace)


def _reduce_wrapped(wrapped: WrappedError) -> tuple[Callable[..., WrappedError], tuple[bytes, str]]:
    """Let a `WrappedError` keep the frames of its error."""
    return _load_wrapped, (dump_error(wrapped.error), wrapped.call)


def _load_wrapped(payload: bytes, call: str) -> WrappedError:
    return WrappedError(load_error(payload), call)


# Not in copyreg's table: tblib's install() puts its own way there for all exceptions, as whoever imports dask does.
WrappedError.__reduce__ = _reduce_wrapped  # type: ignore[method-assign, assignment]


def _interrupts(payload: bytes) -> bool:
    """Whether it was the payload that raised KeyboardInterrupt: a Ctrl-C that came meanwhile is not raised again."""
    try:
        pickle.loads(payload)
    except KeyboardInterrupt:
        return True
    except BaseException:
        return False
    return False


@contextmanager
def _room_to_recurse() -> Iterator[None]:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, _RECURSION))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def _format(error: BaseException) -> str:
    """The traceback as Python prints it; of a long one the beginning and the end."""
    try:
        text = "".join(traceback.format_exception(error))
    except BaseException as problem:
        return f"<no traceback: printing it raised {type(problem).__qualname__}>"
    left_out = len(text) - 2 * _TOLD
    if left_out <= 0:
        return text
    return f"{text[:_TOLD]}\n[... {left_out:,} characters left out ...]\n{text[-_TOLD:]}"


def _note_cuts(error: BaseException) -> None:
    """Let each exception that hangs together with this one say how much of its traceback does not travel."""
    for each in chain_of(error):
        frames = sum(1 for _ in traceback.walk_tb(each.__traceback__))
        if frames > 2 * _FRAMES_KEPT:
            each.add_note(f"{frames - 2 * _FRAMES_KEPT:,} of its {frames:,} frames, in the middle, are left out.")


def _dump_by_reference(value: object) -> bytes:
    if not is_frozen():
        return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    buffer = io.BytesIO()
    _UnfreezingPickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()


class _UnfreezingPickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        return _reduce_frozen(obj)


def is_frozen() -> bool:
    """Whether freezegun has put its own in place of the dates and clocks of this process."""
    freezegun = sys.modules.get("freezegun.api")
    return freezegun is not None and bool(freezegun.freeze_factories)


def _reduce_frozen(obj: Any) -> Any:
    """Let dates and clocks travel as what they are where nobody freezes them.

    The real ones cannot be pickled by name either, for under their names are freezegun's.
    """
    freezegun: Any = sys.modules["freezegun.api"]
    dates = {
        freezegun.FakeDatetime: "datetime",
        freezegun.real_datetime: "datetime",
        freezegun.FakeDate: "date",
        freezegun.real_date: "date",
    }
    if isinstance(obj, type):
        return (get_named, ("datetime", dates[obj])) if obj in dates else NotImplemented
    if type(obj) in dates:
        return get_named("datetime", dates[type(obj)]), obj.__reduce_ex__(pickle.HIGHEST_PROTOCOL)[1]
    name = getattr(obj, "__name__", "")
    is_clock = name and any(
        obj is getattr(freezegun, f"{lead}_{name.removeprefix('fake_')}", None) for lead in ("fake", "real")
    )
    return (get_named, ("time", name.removeprefix("fake_"))) if is_clock else NotImplemented


def _dump_by_value(value: object, what: str, reduce: Reducer | None = None) -> bytes:
    import cloudpickle

    class ByValuePickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            name = _name_of_singleton(obj)
            if name is not None:
                return get_named, name
            reduced = _reduce_frozen(obj) if frozen else NotImplemented
            if reduced is NotImplemented and reduce is not None:
                reduced = reduce(obj, self._reduce_by_value)
            if reduced is not NotImplemented:
                return reduced
            return super().reducer_override(obj)

        def _reduce_by_value(self, function: Any) -> Any:
            """As if nothing had the function's name: cloudpickle looks for none in the main module."""
            module, function.__module__ = function.__module__, "__main__"
            try:
                return super().reducer_override(function)
            finally:
                function.__module__ = module

    frozen, buffer = is_frozen(), io.BytesIO()
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


def get_named(module: str, name: str) -> object:
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
                return _reduce_traceback(obj)
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


def _reduce_traceback(trace: TracebackType) -> tuple[Any, ...]:
    """A list of its frames: tblib's chain is pickled by recursion, and some 350 frames end that."""
    from tblib import Frame

    frames = list(traceback.walk_tb(trace))
    if len(frames) > 2 * _FRAMES_KEPT:
        del frames[_FRAMES_KEPT:-_FRAMES_KEPT]
    return _rebuild_traceback, ([(Frame(frame), line) for frame, line in frames],)


def _rebuild_traceback(frames: list[tuple[Any, int]]) -> TracebackType:
    """Rebuild a traceback in a thread of its own.

    Its frames have been run to have them; here they would be on top of those of the
    caller, and so keep alive what all of them hold.
    """
    from tblib import Traceback

    trace: Any = None
    for frame, line in reversed(frames):
        following, trace = trace, object.__new__(Traceback)
        trace.tb_frame, trace.tb_lineno, trace.tb_next = frame, line, following
    rebuilt: list[TracebackType] = []
    thread = threading.Thread(target=lambda: rebuilt.append(trace.as_traceback()))
    thread.start()
    thread.join()
    return rebuilt.pop()


def _describe(error: BaseException) -> str:
    return f"{type(error).__qualname__}: {text_of(error)}"
