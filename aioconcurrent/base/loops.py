"""Which event loop runs in this thread."""

from __future__ import annotations

import asyncio
import asyncio.events
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def current_backend() -> str | None:
    """Return "asyncio" or "trio", or None where no event loop is running."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        return "trio"
    return "asyncio" if asyncio.events._get_running_loop() else None


@contextmanager
def outside_loop() -> Iterator[None]:
    """Run a block that awaits nothing as if no asyncio loop were running in this thread.

    Inside a loop asgiref gives each task its own connections in place of the thread's.
    """
    loop = asyncio.events._get_running_loop()
    asyncio.events._set_running_loop(None)
    try:
        yield
    finally:
        asyncio.events._set_running_loop(loop)


def from_other_threads() -> Callable[[Callable[[], object]], object]:
    """What calls a function in the running loop, from any thread; a RuntimeError when that loop has ended."""
    if current_backend() == "trio":
        trio: Any = sys.modules["trio"]
        return trio.lowlevel.current_trio_token().run_sync_soon  # type: ignore[no-any-return]
    return asyncio.get_running_loop().call_soon_threadsafe
