"""Work that a stepped call leaves to a queue, and the wrapper that does it."""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING, Any

from ..base import pickling
from ..base.calls import Call, check_target, import_name
from ..engine.wrapper import import_target
from .gate import gate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..base.calls import Target


def leave(function: Target, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Have the work done by a wrapper of its own, if this process is stepped.

    Raises:
        TypeError: The function cannot be called.
        ValueError: It has no name to import it by.
        UnpicklableError: An argument cannot be pickled.
    """
    check_target(function, "The work that is left to others")
    call = Call(function, args, kwargs)
    name = import_name(function)
    if name is None:
        raise ValueError(
            f"{call.name} cannot be imported by its name. What other processes do must be a function of a module."
        )
    arguments = call.text.partition("(")[2][:-1]
    return gate.enqueue(call.name, arguments, packed(call.name, name, *args, **kwargs))


def packed(name: str, maker: str, *args: Any, **kwargs: Any) -> bytes:
    """A task as it travels to a wrapper.

    Args:
        name: Of the task, with its module.
        maker: "module:function" that makes it, of `args` and `kwargs`.
    """
    return pickling.dumps((maker, args, kwargs), f"What {name} is enqueued with")


def make_task() -> Any:
    """Make the task that was enqueued for this process, if one was."""
    task = gate.fetch_task()
    if task is None:
        return None
    maker, args, kwargs = pickling.loads(task)
    return import_target(maker)(*args, **kwargs)


def told(args: Any, kwargs: Mapping[str, Any]) -> str:
    """Arguments that came out of a message, for people."""
    shown = [*map(reprlib.repr, args), *(f"{name}={reprlib.repr(value)}" for name, value in kwargs.items())]
    return ", ".join(shown)
