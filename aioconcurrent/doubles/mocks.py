"""What a test has patched in its own process, and mocks, which travel as copies.

`unittest.mock` and pytest's monkeypatch keep what they have replaced in objects that only the test holds, in a
frame of a `with` or a decorator.  So their classes are watched from the first race on, and what was made before is
looked for once: a race in which nothing is patched pays microseconds.

A copy of a mock is configured like the original: return value, side effect, spec, attributes and children.  It
starts without any calls, and its calls become calls of the original.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import os
import pickle
import re
import sys
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from ..base import pickling
from . import http

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


_RECORDED = re.compile(r"_mock_(called|call_.*|mock_calls|method_calls|await_.*)|method_calls")
_MADE = re.compile(r"__.*__|_is_coroutine")  # by the constructor of a mock for coroutine functions
_OF_ANY_CLASS = frozenset(
    {"__doc__", "__module__", "__dict__", "__weakref__", "__firstlineno__", "__static_attributes__"}
)
_PART = re.compile(r"\(\)|[^.()]+")

Recorded = list[tuple[str, tuple[Any, ...], dict[str, Any]]]


def is_mock(value: object) -> bool:
    """Whether this is a mock; none is asked for its class, which it may claim."""
    module: Any = sys.modules.get("unittest.mock")
    return module is not None and issubclass(type(value), module.NonCallableMock)


def is_autospecced(value: object) -> bool:
    """Whether this is a function that passes on its calls to a mock, as `create_autospec` makes it of a function."""
    return isinstance(value, FunctionType) and is_mock(vars(value).get("mock"))


def is_root(mock: Any) -> bool:
    """Whether no other mock is told of its calls."""
    return vars(mock).get("_mock_new_parent") is None


def reduce(mock: Any) -> tuple[Any, ...]:
    """What pickle needs to make a copy."""
    own = {
        name: value
        for name, value in vars(mock).items()
        if not _RECORDED.fullmatch(name) and not (_MADE.fullmatch(name) and _is_async(type(mock)))
    }
    return rebuild, (_class_of(mock),), (own, _of_class(mock)), None, None, restore


def without_calls(reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """The reduced form of an autospecced function, which keeps the calls of its mock, without any."""
    make, arguments, (own, slots), *rest = reduced
    kept = {name: value for name, value in own.items() if not _RECORDED.fullmatch(f"_mock_{name}")}
    lists = {name: type(own[name])() for name in ("call_args_list", "mock_calls", "method_calls") if name in own}
    return make, arguments, (kept | lists | {"called": False, "call_count": 0, "call_args": None}, slots), *rest


def rebuild(kind: type) -> Any:
    """A mock of this class that knows nothing yet."""
    mock: Any = kind.__new__(kind)  # type: ignore[call-overload]
    library: Any = next(each for each in kind.__mro__ if each.__module__ == "unittest.mock")
    library.__init__(mock)  # a class of the project's may want arguments
    return mock


def restore(mock: Any, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Let a new mock be as another one was told to be."""
    own, of_class = state
    vars(mock).update(own)
    for name, value in of_class.items():
        setattr(type(mock), name, value)
    if issubclass(type(mock), sys.modules["unittest.mock"].MagicMixin):
        mock._mock_set_magics()


def recorded(mock: Any) -> Recorded:
    """The calls of a mock and its children."""
    return [(name, args, kwargs) for name, args, kwargs in mock.mock_calls]


def absorb(mock: Any, calls: Iterable[tuple[str, tuple[Any, ...], dict[str, Any]]]) -> None:
    """Let a mock know of these calls as if they had been made here."""
    from unittest.mock import call

    for name, args, kwargs in calls:
        called = _follow(mock, name)
        if not is_mock(called):  # what was an attribute there is another one here
            continue
        called._increment_mock_call(*args, **kwargs)
        if _is_async(type(called)):
            called.await_count += 1
            called.await_args = call(*args, **kwargs)
            called.await_args_list.append(called.await_args)


def kept(mock: Any) -> Iterator[dict[str, Any]]:
    """Where a mock and its children keep their calls."""
    known: dict[int, Any] = {}
    left = [mock]
    while left:
        each = left.pop()
        if is_mock(each) and id(each) not in known:
            known[id(each)] = each
            state = vars(each)
            yield state
            if is_autospecced(state.get("_mock_delegate")):
                yield vars(state["_mock_delegate"])
            left += [*state["_mock_children"].values(), state["_mock_return_value"]]


def is_record(name: str) -> bool:
    """Whether calls are kept under this name."""
    return _RECORDED.fullmatch(name) is not None or _RECORDED.fullmatch(f"_mock_{name}") is not None


def _follow(mock: Any, name: str) -> Any:
    for part in _PART.findall(name):
        mock = mock.return_value if part == "()" else getattr(mock, part, None)
        mock = mock.mock if is_autospecced(mock) else mock
    return mock


def _class_of(mock: Any) -> type:
    """Each mock has a class of its own; this is the one below."""
    from unittest.mock import AsyncMock

    kind = type(mock)
    below = kind.__bases__[-1]
    return AsyncMock if _is_async(kind) and not _is_async(below) else below


def _of_class(mock: Any) -> dict[str, Any]:
    from unittest.mock import MagicProxy

    return {
        name: value
        for name, value in vars(type(mock)).items()
        if name not in _OF_ANY_CLASS and not isinstance(value, MagicProxy)
    }


def _is_async(kind: type) -> bool:
    return issubclass(kind, sys.modules["unittest.mock"].AsyncMockMixin)


MISSING: Any = object()
_PATCHERS = (("unittest.mock", "_patch"), ("mock.mock", "_patch"))
_DICT_PATCHERS = (("unittest.mock", "_patch_dict"), ("mock.mock", "_patch_dict"))
_MONKEYS = (("_pytest.monkeypatch", "MonkeyPatch"),)
_NOT_FOR_CALLS = (__name__.partition(".")[0], "unittest", "mock", "pytest", "_pytest")  # tools of the test itself
_TRAVELS_ANYWAY = {
    ("os", "environ"),
    ("django.db.backends.base.base", "ensure_connection"),  # by which a test case bans databases
    *(("sys", name) for name in ("argv", "meta_path", "modules", "path", "stderr", "stdin", "stdout")),
}
_watched: dict[type, WeakSet[Any]] = {}


@dataclass(frozen=True, slots=True)
class Patch:
    """An attribute that was replaced.

    Attributes:
        original: What was there; MISSING if there was nothing.
    """

    target: object
    name: str
    original: object

    @property
    def value(self) -> object:
        """What is there now; MISSING if it was deleted."""
        own = getattr(self.target, "__dict__", {})
        return own.get(self.name, MISSING)

    def __str__(self) -> str:
        target = self.target
        if isinstance(target, ModuleType):
            return f"{target.__name__}.{self.name}"
        if isinstance(target, type):
            return f"{target.__module__}.{target.__qualname__}.{self.name}"
        return f"{self.name} of one {type(target).__module__}.{type(target).__qualname__}"


@dataclass(frozen=True, slots=True)
class DictPatch:
    """A dict of which items were replaced.

    Attributes:
        changed: What is there now, or is there in addition.
        gone: The keys of what was there.
    """

    target: Any
    changed: dict[Any, Any]
    gone: tuple[Any, ...]

    def __str__(self) -> str:
        return f"items of a dict: {', '.join(map(repr, (*self.changed, *self.gone)))}"


def dict_patches() -> list[DictPatch]:
    """The dicts of which items are patched now, but for the environment, which travels anyway."""
    found = []
    for patcher in _instances(_DICT_PATCHERS):
        if patcher._original is not None:  # it is in force
            target, before = patcher.in_dict, patcher._original
            changed = {key: target[key] for key in target if key not in before or before[key] is not target[key]}
            found.append(DictPatch(target, changed, tuple(key for key in before if key not in target)))
    for monkey in _instances(_MONKEYS):
        for target, key, _ in monkey._setitem:
            is_there = key in target
            found.append(DictPatch(target, {key: target[key]} if is_there else {}, () if is_there else (key,)))
    return [patch for patch in found if patch.target is not os.environ]


def active_patches() -> list[Patch]:
    """What is patched now and could matter to a call, each attribute once."""
    _instances((*_PATCHERS, *_DICT_PATCHERS, *_MONKEYS))  # all at once, for what is new is searched for in all objects
    found: dict[tuple[int, str], Patch] = {}
    for patch in (*_of_mock(), *_of_pytest()):
        key = id(patch.target), patch.name
        if key not in found or _is_double(found[key].original):  # of patches one above the other the first knows best
            found[key] = patch
    return [patch for patch in found.values() if _matters(patch)]


def reference_to(target: object) -> bytes | None:
    """A pickle that is this very object in any process, or None if there is none."""
    if isinstance(target, ModuleType):
        named = sys.modules.get(target.__name__) is target and pickling.is_importable(target.__name__)
        return pickling.dumps(_Module(target.__name__)) if named else None
    with contextlib.suppress(Exception):  # pickling runs whatever the object says
        pickled = pickle.dumps(target)
        if pickle.loads(pickled) is target:
            return pickled
    for module in list(sys.modules.values()):
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if value is target and pickling.is_importable(module.__name__):
                return pickling.dumps(_Attribute(module.__name__, name))
    return None


def is_reachable(target: object) -> bool:
    """Whether code that a test has not made itself may come upon this object."""
    kind = target if isinstance(target, type) else type(target)
    return "<locals>" not in kind.__qualname__ and pickling.is_importable(kind.__module__)


class _Module:
    """Is unpickled as the module of this name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, (self._name,)


class _Attribute:
    """Is unpickled as the attribute of this module."""

    def __init__(self, module: str, name: str) -> None:
        self._place = module, name

    def __reduce__(self) -> tuple[Any, ...]:
        return pickling.get_named, self._place


def _of_mock() -> Iterator[Patch]:
    for patcher in _instances(_PATCHERS):
        state = vars(patcher)
        if "temp_original" in state and "target" in state and not http.belongs_to_starter(patcher):  # it is in force
            default = sys.modules[type(patcher).__module__].DEFAULT
            original = MISSING if state["temp_original"] is default else state["temp_original"]
            yield Patch(state["target"], patcher.attribute, original)


def _of_pytest() -> Iterator[Patch]:
    for monkey in _instances(_MONKEYS):
        module = sys.modules[type(monkey).__module__]
        notset = getattr(module, "NOTSET", None) or module.notset  # its name until pytest 9.0
        for target, name, original in monkey._setattr:
            yield Patch(target, name, MISSING if original is notset else original)


def _instances(classes: Iterable[tuple[str, str]]) -> list[Any]:
    """The patchers of these classes that may be in force."""
    kinds = [getattr(sys.modules[module], name) for module, name in classes if module in sys.modules]
    new = [kind for kind in kinds if kind not in _watched]
    if new:
        everything = gc.get_objects()
        for kind in new:
            _watched[kind] = WeakSet(item for item in everything if type(item) is kind)
            _watch(kind, _watched[kind])
    return [item for kind in kinds for item in list(_watched[kind])]


def _watch(kind: Any, known: WeakSet[Any]) -> None:
    """Keep up with the instances of a class: those in whose block the test is, or all if they are no blocks."""
    if hasattr(kind, "__enter__"):
        _note(kind, "__enter__", known.add)
        _note(kind, "__exit__", known.discard)
    else:
        _note(kind, "__init__", known.add)


def _note(kind: Any, name: str, note: Callable[[Any], None]) -> None:
    """Take note of an instance whenever its method is called."""
    method = getattr(kind, name)

    @functools.wraps(method)
    def noted(self: Any, *args: Any, **kwargs: Any) -> Any:
        note(self)
        return method(self, *args, **kwargs)

    setattr(kind, name, noted)


def _matters(patch: Patch) -> bool:
    if patch.value is patch.original:  # it was put back by hand
        return False
    target = patch.target
    if isinstance(target, ModuleType | type):
        modules = {target.__name__ if isinstance(target, ModuleType) else target.__module__}
    else:  # an item of pytest, a test case, a part of a mock: the classes below tell
        modules = {kind.__module__ for kind in type(target).__mro__}
    if any(module.partition(".")[0] in _NOT_FOR_CALLS for module in modules):
        return False
    if "django.conf" in modules or any((module, patch.name) in _TRAVELS_ANYWAY for module in modules):
        return False  # settings travel in a way of their own
    is_plain = not (callable(patch.original) or callable(patch.value))
    return isinstance(target, ModuleType | type) or not is_plain


def _is_double(value: object) -> bool:
    return any(kind.__module__ in ("unittest.mock", "mock.mock") for kind in type(value).__mro__)
