"""Which event loop runs in this thread."""

from __future__ import annotations

import sys


def current_backend() -> str | None:
    """Return "asyncio" or "trio", or None where no event loop is running."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        return "trio"
    asyncio = sys.modules.get("asyncio")
    return "asyncio" if asyncio is not None and asyncio._get_running_loop() else None
