"""What the awaitable functions give to a caller that has no event loop to await it in.

`asyncio.run(explore(...))` takes it for the coroutine that it holds; a plain test
that imported the wrong `explore` learns what to write.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from ._loops import current_backend
from ._unread import Unread, hand_over

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

F = TypeVar("F", bound="Callable[..., Coroutine[Any, Any, Any]]")


def explaining(function: F) -> F:
    """Let a coroutine function explain itself where its coroutines cannot be awaited."""
    return _CoroutineFunction(function)  # type: ignore[return-value]


class _CoroutineFunction:
    """Has what makes `inspect` and all that asks it take it for the coroutine function that it holds."""

    def __init__(self, function: Any) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        inner = inspect.unwrap(function)
        self.__code__, self.__defaults__, self.__kwdefaults__ = inner.__code__, inner.__defaults__, inner.__kwdefaults__

    def __call__(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        coroutine = self._function(*args, **kwargs)
        return coroutine if current_backend() else hand_over(Unawaited(coroutine, self._function.__name__))


class Unawaited(Coroutine[Any, Any, Any]):
    """A coroutine that says what to write, whatever is done with it but to run it."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], name: str) -> None:
        self._coroutine = coroutine
        self._text = (
            f"{name}(...) of aioconcurrent has to be awaited, and this is no coroutine. Write "
            f"`from aioconcurrent.sync import {name}`, or `async def` and `await {name}(...)`."
        )
        self._unread = Unread()

    def _watch(self) -> Unread:
        text = self._text
        self._unread = Unread([0], lambda _: text)
        return self._unread

    def send(self, value: Any, /) -> Any:
        self._unread.look()
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        self._unread.look()
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._unread.look()
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        self._unread.look()
        return self._coroutine.__await__()

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("_", "ag_", "cr_", "gi_")):  # as event loops ask for
            return getattr(vars(self)["_coroutine"], name)
        raise AttributeError(self._explained(), name=name, obj=self)

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError(self._explained())

    def _explained(self) -> str:
        """The text; nothing more has to be said, not even by Python that nobody has awaited the coroutine."""
        self.close()
        return self._text

    __bool__ = __len__ = __iter__ = __getitem__ = __contains__ = _refuse

    def __repr__(self) -> str:
        return f"<{self._text}>"
