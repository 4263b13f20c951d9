"""Whether a call can be made as it is written.

A TypeError of a call's arguments is a mistake of the test; one from inside the
function is an outcome of the call.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import reprlib
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

F = TypeVar("F", bound="Callable[..., Any]")

_SHOWN = (int, float, bool, str, bytes, type(None))


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
    inner = inspect.unwrap(function)
    code = getattr(inner, "__code__", None)
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code is code:
            return ""
        trace = trace.tb_next
    return _misfit(function, args, kwargs, follow_wrapped=True)


def cannot_be_made(call: str, reason: str) -> TypeError:
    """The error of a call that is written in a way in which it cannot be made."""
    return TypeError(f"Cannot make {call}: {reason}")


def naming_unknown(advice: str = "") -> Callable[[F], F]:
    """Decorate a function so that its error for a keyword that it has not says which was meant, and the advice."""

    def decorate(function: F) -> F:
        parameters = inspect.signature(function).parameters.values()
        known = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
        shown = function.__qualname__.removesuffix(".__init__")

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            for name in kwargs:
                if name not in known:
                    text = f"{shown}() got an unexpected keyword argument {name!r}{meant(name, known)}. {advice}"
                    raise TypeError(text.rstrip())
            return function(*args, **kwargs)

        return run  # type: ignore[return-value]

    return decorate


def meant(name: str, known: Iterable[str]) -> str:
    """Ask whether a name that is known was meant, if one is like it."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""


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
    parameters = [
        parameter.replace(annotation=parameter.empty, default=_Shown.of(parameter.default))
        for parameter in signature.parameters.values()
    ]
    return inspect.Signature(parameters)


class _Shown:
    def __init__(self, text: str) -> None:
        self._text = text

    @classmethod
    def of(cls, default: object) -> object:
        if default is inspect.Parameter.empty:
            return default
        return cls(reprlib.repr(default) if type(default) in _SHOWN else "...")

    def __repr__(self) -> str:
        return self._text
