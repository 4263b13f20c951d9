"""Calls as users write them, checked and made ready to travel.

A TypeError of a call's arguments is a mistake of the test; one from inside the
function is an outcome of the call.
"""

from __future__ import annotations

import functools
import inspect
import reprlib
import sys
from dataclasses import dataclass
from functools import partial, reduce
from traceback import walk_tb
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from .._text import Verbatim, meant
from . import pickling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence


Target: TypeAlias = "Callable[..., Any] | str"

METHODS = ("get", "post", "put", "patch", "delete", "head", "options", "trace")  # of HTTP, and of test clients

# Attributes that a function may have: what is called with its arguments before the common start, and what
# names the modules that it will import.  No mock has attributes with such names.
READY, MODULES = "__aioconcurrent_ready__", "__aioconcurrent_modules__"

_FORMS = (
    "(function, kwargs), (function, args), (function, args, kwargs), functools.partial(function, ...), or a function"
)
_SHOWN = (int, float, bool, str, bytes, type(None))


@dataclass(frozen=True)
class Call:
    """One function with its arguments, and its place among the calls of a race.

    Attributes:
        number: Its number, counted from 1.
        total: How many calls the race has.
        title: What is shown in place of function and arguments, if set.
    """

    function: Target
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    number: int = 1
    total: int = 1
    title: str = ""

    @property
    def name(self) -> str:
        """The function's dotted name."""
        return self.function.replace(":", ".") if isinstance(self.function, str) else _dotted(self.function)

    @property
    def text(self) -> str:
        """The call without its module, as "withdraw(account_id=1, amount=80)"."""
        return self.title or f"{self.name.rpartition('.')[2]}({self._arguments})"

    @property
    def _arguments(self) -> str:
        shown = [_show(value) for value in self.args]
        shown += [f"{name}={_show(value)}" for name, value in self.kwargs.items()]
        return ", ".join(shown)

    def __str__(self) -> str:
        told = self.title or f"{self.name}({self._arguments})"
        return f"call {self.number} of {self.total}, {told}"

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that the function says it will import."""
        return tuple(getattr(self.function, MODULES, tuple)())

    def pickle(self) -> tuple[str | None, bytes]:
        """Return the name to import the function by, if it has one, and the pickled rest.

        Raises:
            UnpicklableError: An argument, or a function without a name, cannot be pickled.
        """
        name = import_name(self.function)
        function = None if name else self.function
        modules = by_value_modules([self.function, *self.args, *self.kwargs.values()])
        return name, pickling.dump_arguments(
            (function, self.args, dict(self.kwargs)), modules, f"The function or an argument of {self}"
        )


def repeated(concurrency: int, function: Target, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Call]:
    """Return `concurrency` calls that are all the same.

    Raises:
        ValueError: `concurrency` is below 1, or a string target is malformed.
        TypeError: `concurrency` is not an integer, or the target is not callable.
    """
    if type(concurrency) is not int:
        raise TypeError(
            f"The first argument is how many calls to make, an integer of at least 1, not {concurrency!r}: "
            "call_concurrently(5, function, ...)."
        )
    if concurrency < 1:
        raise ValueError(f"Cannot make {concurrency} calls: concurrency must be at least 1.")
    return _numbered([(function, args, kwargs)] * concurrency)


def parsed(calls: Sequence[object]) -> list[Call]:
    """Return the calls, each written in one of the accepted forms.

    Raises:
        ValueError: There are none, or a string target is malformed.
        TypeError: One has none of these forms, or its target is not callable.
    """
    if not calls:
        raise ValueError(f"There are no calls to make: pass at least one of {_FORMS}.")
    return _numbered([_parse(call, number, calls[number:]) for number, call in enumerate(calls, 1)])


def import_name(function: Target) -> str | None:
    """Return "module:qualified.name" if a new process has this very function under that name, else None."""
    if isinstance(function, str):
        return function
    module, path = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not module or not path or module not in sys.modules or not pickling.is_importable(module):
        return None
    try:
        found: object = reduce(getattr, path.split("."), sys.modules[module])
    except AttributeError:
        return None
    return f"{module}:{path}" if found is function else None


def by_value_modules(values: Iterable[object]) -> set[str]:
    """The modules whose functions and classes a new process could not import."""
    names = {getattr(value, "__module__", None) or type(value).__module__ for value in values}
    return {name for name in names if name in sys.modules and not pickling.is_importable(name)}


def check_target(target: object, what: str) -> None:
    """Raise TypeError or ValueError if `target` is nothing to call; the text begins with `what`."""
    if isinstance(target, str):
        module, colon, path = target.partition(":")
        if not (colon and all(part.isidentifier() for part in (*module.split("."), *path.split(".")))):
            dotted = ":".join(target.rpartition(".")[::2])
            advice = f' Write "{dotted}".' if "." in target and ":" not in target else ""
            raise ValueError(f'{what} is {target!r}; a string target has the form "package.module:function".{advice}')
    elif inspect.iscoroutine(target):
        target.close()  # or Python warns that nobody has awaited it
        name = target.__qualname__
        raise TypeError(
            f"{what} is a coroutine, returned by {name}(...). Pass the function itself, and its arguments beside it: "
            f'({name}, {{"argument": ...}}).'
        )
    elif not callable(target):
        raise TypeError(
            f'{what} is {target!r}, which is not callable; pass a function or "package.module:function", and not what '
            "a function returns."
        )
    elif _is_request(target):
        method = getattr(target, "__name__", "get")
        raise TypeError(
            f"{what} is a method of a test client, whose responses cannot be sent between "
            f'processes. Use aioconcurrent.http.request: (request, ["{method}", "/path/"], {{"data": ...}}), with '
            "`from aioconcurrent.http import request`."
        )


def _is_request(target: Any) -> bool:
    """Whether it makes a request with a test client of Django's."""
    kinds = type(getattr(target, "__self__", None)).__mro__
    is_of_client = any(kind.__module__ == "django.test.client" and kind.__name__.endswith("Client") for kind in kinds)
    return is_of_client and target.__name__ in METHODS


def _parse(
    call: object, number: int, others: Sequence[object] = ()
) -> tuple[Target, tuple[Any, ...], Mapping[str, Any]]:
    written: Any = call
    match written:
        case partial():
            return written.func, written.args, written.keywords
        case (function, dict() as kwargs):
            return function, (), kwargs
        case (function, (tuple() | list()) as args, dict() as kwargs):
            return function, tuple(args), kwargs
        case (function, (tuple() | list()) as args) if callable(function) or isinstance(function, str):
            return function, tuple(args), {}
    if callable(written) or inspect.iscoroutine(written):
        return written, (), {}
    raise TypeError(f"Call {number} is {_written(call)}; a call is {_FORMS}.{_advice(call, others)}")


def _written(value: object) -> str:
    """Show a value that is not a call as it is written in the test."""
    if isinstance(value, tuple | list):
        inside = ", ".join(map(_written, value))
        return f"[{inside}]" if isinstance(value, list) else f"({inside}{',' if len(value) == 1 else ''})"
    return value.__name__ if isinstance(value, FunctionType | MethodType) else reprlib.repr(value)


def _advice(call: object, others: Sequence[object]) -> str:
    """What was probably meant by what is no call."""
    if call is ...:
        return ' "..." stands for the calls that the order was found with: write them in its place.'
    if isinstance(call, int):
        function, *args = others or ["function"]
        meant_call = f"({_written(function)}, {_written(args)})" if callable(function) else "(function, kwargs)"
        return f" For {call} calls that are alike write *[{meant_call}] * {call}."
    if isinstance(call, tuple | list) and call and all(isinstance(each, tuple | partial) for each in call):
        return " A list of calls is passed with a star, as *calls."
    if isinstance(call, tuple) and call and (callable(call[0]) or isinstance(call[0], str)):
        return f" Write ({_written(call[0])}, {_written(list(_flattened(call[1:])))})."
    return ""


def _flattened(values: Iterable[object]) -> Iterator[object]:
    for value in values:
        yield from value if isinstance(value, list | tuple) else [value]


def _numbered(calls: Sequence[tuple[Target, tuple[Any, ...], Mapping[str, Any]]]) -> list[Call]:
    for number, (function, _, kwargs) in enumerate(calls, 1):
        check_target(function, f"The target of call {number} of {len(calls)}")
        if not all(isinstance(name, str) for name in kwargs):
            raise TypeError(f"The keyword arguments of call {number} must have strings as names: {dict(kwargs)!r}.")
    numbered = [Call(*call, number, len(calls)) for number, call in enumerate(calls, 1)]
    for call in numbered:
        if reason := misfit(call.function, call.args, call.kwargs):
            raise cannot_be_made(str(call), reason + _with_arguments(call))
    return numbered


def _with_arguments(call: Call) -> str:
    """How a function that was passed alone is passed with the arguments that it needs."""
    if call.args or call.kwargs or not isinstance(call.function, FunctionType | MethodType):
        return ""
    needed = [
        each.name
        for each in inspect.signature(call.function).parameters.values()
        if each.default is each.empty and each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
    ]
    arguments = ", ".join(f'"{name}": ...' for name in needed)
    return f" Write ({call.function.__name__}, {{{arguments}}})." if needed else ""


def _dotted(function: Any) -> str:
    if isinstance(function, partial):
        return _dotted(function.func)
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return f"{getattr(function, '__module__', None) or '?'}.{name}"


def _show(value: object) -> str:
    """Plain values, and the keys of rows: the repr of a lazy object, such as a query set, may do things."""
    if type(value) in _SHOWN:
        return reprlib.repr(value)
    key = getattr(getattr(getattr(type(value), "_meta", None), "pk", None), "attname", None)
    found = getattr(value, "__dict__", {}).get(key) if isinstance(key, str) else None
    return f"<{type(value).__qualname__}{'' if found is None else f' pk={_show(found)}'}>"


F = TypeVar("F", bound="Callable[..., Any]")


def misfit(function: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Say why this call is bound to fail; empty if that cannot be known before it is made.

    What decorators and other callables do with arguments is theirs, whatever signature they show.
    """
    plain = function
    while isinstance(plain, functools.partial):
        plain = plain.func
    if not isinstance(plain, FunctionType | MethodType) or hasattr(plain, "__signature__"):
        return ""
    return _misfit(function, args, kwargs, follow_wrapped=False)  # type: ignore[arg-type]


def misfit_met(error: TypeError, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Say why the call did not get as far as into the function; empty if it did, and the error is the function's."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if any(frame.f_code is code for frame, _ in walk_tb(error.__traceback__)):
        return ""
    return _misfit(function, args, kwargs, follow_wrapped=True)


def cannot_be_made(call: str, reason: str) -> TypeError:
    """The error of a call that is written in a way in which it cannot be made."""
    return TypeError(f"Cannot make {call}: {reason}")


def _misfit(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], *, follow_wrapped: bool
) -> str:
    try:
        signature = inspect.signature(function, follow_wrapped=follow_wrapped)
    except (TypeError, ValueError):  # it has none that could be read
        return ""
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        name = getattr(inspect.unwrap(function), "__name__", type(function).__name__)
        return f"{_unknown(kwargs, signature) or error}. Its arguments are those of {name}{_shown(signature)}."
    return ""


def _unknown(kwargs: Iterable[str], signature: inspect.Signature) -> str:
    """Say which keyword there is no argument for; a mistyped one is missed in its place."""
    parameters = signature.parameters.values()
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return ""
    known = [each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    unknown = [name for name in kwargs if name not in known]
    return f"got an unexpected keyword argument {unknown[0]!r}{meant(unknown[0], known)}" if unknown else ""


def _shown(signature: inspect.Signature) -> inspect.Signature:
    """The signature without annotations, and without the repr of objects that may do things in it."""

    def shown(default: object) -> object:
        if default is inspect.Parameter.empty:
            return default
        return Verbatim(reprlib.repr(default) if type(default) in _SHOWN else "...")

    parameters = signature.parameters.values()
    return inspect.Signature([each.replace(annotation=each.empty, default=shown(each.default)) for each in parameters])
