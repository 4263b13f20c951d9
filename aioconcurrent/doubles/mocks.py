"""How objects of `unittest.mock` are pickled, and how calls of a copy become calls of the original.

A copy is configured like the original: return value, side effect, spec, attributes and
children.  It starts without any calls.
"""

from __future__ import annotations

import re
import sys
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
