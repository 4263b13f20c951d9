"""Coverage.py in a process that ends by `os._exit`, where coverage's own handlers do not run."""

from __future__ import annotations

import contextlib
import sys


def save_coverage() -> None:
    """Write down what has been measured in this process, if coverage.py was started in it."""
    kind = getattr(sys.modules.get("coverage"), "Coverage", None)
    with contextlib.suppress(Exception):  # a call is worth more than the measure of it
        if kind is not None and (running := kind.current()) is not None:
            running.stop()
            running.save()
