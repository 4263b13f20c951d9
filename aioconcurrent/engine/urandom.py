"""Which modules have `os.urandom`, also under a name of their own, as `random` does.

A fork of the template does not look for them: memory of the template that it touches is copied.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

NAMES = ("urandom", "_urandom")
REAL = os.urandom  # under a name that is none of those, or it would be replaced itself


def users(modules: Iterable[object]) -> list[dict[str, Any]]:
    """The namespaces of those of these modules that have it."""
    namespaces: list[dict[str, Any]] = [getattr(module, "__dict__", {}) for module in list(modules)]
    return [each for each in namespaces if any(each.get(name) is REAL for name in NAMES)]
