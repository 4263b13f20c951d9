"""A context around each run of a decorated function, of any kind, or of the tests of a decorated class.

A generator or coroutine has it while it runs, but not while a generator waits at a `yield`: what runs then is other
code.
"""

from __future__ import annotations

import functools
import inspect
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    Contexts = Callable[[], AbstractContextManager[object]]

F = TypeVar("F", bound="Callable[..., Any]")

# What runners of tests call around the tests of a class.
_AROUND_TESTS = ("setUp", "tearDown", "setUpClass", "tearDownClass", "setUpTestData", "asyncSetUp", "asyncTearDown")
_HOOKS = ("setup_method", "teardown_method", "setup_class", "teardown_class")


def decorated(function: F, contexts: Contexts) -> F:
    """Return the function, or the class, with a new context around each of its runs.

    Raises:
        TypeError: It is nothing that could be decorated.
    """
    found: Any = function
    if isinstance(found, type):
        return _decorated_class(found, contexts)  # type: ignore[return-value]
    if isinstance(found, staticmethod | classmethod):
        return type(found)(decorated(found.__func__, contexts))  # type: ignore[return-value]
    if type(found).__module__.startswith("_pytest."):
        raise TypeError("@options(...) has to be below @pytest.fixture, directly above the function.")
    if not callable(found):
        raise TypeError(f"@options(...) decorates functions, and classes of tests, not {found!r}.")
    return _decorated_function(found, contexts)  # type: ignore[return-value]


def _decorated_class(tests: type, contexts: Contexts) -> type:
    names = [name for name in dir(tests) if name.startswith("test") or name in _AROUND_TESTS + _HOOKS]
    functions = {name: inspect.getattr_static(tests, name) for name in names}
    own = {name: function for name, function in functions.items() if _is_of_tests(tests, name, function)}
    if not any(name.startswith("test") for name in own):
        raise TypeError(
            f"@options(...) on a class is for its tests, and {tests.__qualname__} has no method whose name begins with "
            '"test". Decorate its methods, or write `with options(...):` in them.'
        )
    for name, function in own.items():
        setattr(tests, name, decorated(function, contexts))
    return tests


def _is_of_tests(tests: type, name: str, function: object) -> bool:
    """Whether it is a method, and not one of the frameworks that the class is derived from."""
    home = next(each for each in tests.__mro__ if name in vars(each))
    is_foreign = home.__module__.partition(".")[0] == "unittest" or home.__module__.startswith("django.test.")
    return isinstance(function, FunctionType | staticmethod | classmethod) and not is_foreign


def _decorated_function(function: Callable[..., Any], contexts: Contexts) -> Callable[..., Any]:
    usual = _around_hook if getattr(function, "__name__", "") in _HOOKS else _around_function
    around = next((around for fits, around in _KINDS if fits(function)), usual)
    return functools.wraps(function)(around(function, contexts))


def _around_function(function: Callable[..., Any], contexts: Contexts) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        with contexts():
            result = function(*args, **kwargs)
        # a decorator may hide what kind of function it is
        around = next((around for fits, around in _RESULTS if fits(result)), None)
        return result if around is None else around(lambda: result, contexts)()

    return run


def _around_hook(function: Callable[..., Any], contexts: Contexts) -> Callable[..., Any]:
    """pytest counts the arguments of these to know whether to pass the test as well."""

    def run(owner: object) -> Any:
        with contexts():
            return function(owner)

    def run_with_test(owner: object, test: object) -> Any:
        with contexts():
            return function(owner, test)

    return run if function.__code__.co_argcount < 2 else run_with_test


def _around_coroutine(function: Callable[..., Any], contexts: Contexts) -> Callable[..., Any]:
    async def run(*args: Any, **kwargs: Any) -> Any:
        with contexts():
            return await function(*args, **kwargs)

    return run


def _around_generator(function: Callable[..., Any], contexts: Contexts) -> Callable[..., Any]:
    def generate(*args: Any, **kwargs: Any) -> Any:
        generator = function(*args, **kwargs)
        resume, value = generator.send, None
        while True:
            try:
                with contexts():
                    item = resume(value)
            except StopIteration as end:
                return end.value
            try:
                resume, value = generator.send, (yield item)
            except BaseException as error:
                resume, value = generator.throw, error

    return generate


def _around_async_generator(function: Callable[..., Any], contexts: Contexts) -> Callable[..., Any]:
    async def generate(*args: Any, **kwargs: Any) -> Any:
        generator = function(*args, **kwargs)
        resume, value = generator.asend, None
        while True:
            try:
                with contexts():
                    item = await resume(value)
            except StopAsyncIteration:
                return
            try:
                resume, value = generator.asend, (yield item)
            except BaseException as error:
                resume, value = generator.athrow, error

    return generate


_KINDS = (
    (inspect.iscoroutinefunction, _around_coroutine),
    (inspect.isgeneratorfunction, _around_generator),
    (inspect.isasyncgenfunction, _around_async_generator),
)
_RESULTS = (
    (inspect.iscoroutine, _around_coroutine),
    (inspect.isgenerator, _around_generator),
    (inspect.isasyncgen, _around_async_generator),
)
