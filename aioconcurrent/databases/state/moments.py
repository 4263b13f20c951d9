"""How many statements in the body of a routine or a trigger choose by themselves what they see.

Under READ COMMITTED each of them has a snapshot of its own, and others commit between
two of them.  In an exploration they are parts of one step, between which nobody does.
So the number that counts is 0, 1, or more; and every doubt is more.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Bodies = Mapping[str, Sequence[str | None]]

MANY = 2
_NO_CODE = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'", re.DOTALL)
_READS = re.compile(r"\b(?:select|perform|update|delete|merge|execute|call|copy)\b")
_REPEATS = re.compile(r"\b(?:loop|while|repeat)\b")
_WORDS = re.compile(r"\w+")


def moments(body: str | None, routines: Bodies, within: frozenset[str] = frozenset()) -> int:
    """Count them in a body, up to `MANY`; an INSERT of plain values is none.

    Args:
        body: None where nobody can read it.
        routines: The bodies of what may be called in it, by name in lower case: several where names are overloaded.
        within: The routines whose bodies are being read.
    """
    if body is None:
        return MANY
    text = _NO_CODE.sub(" ", body).casefold()
    found = sum(1 for piece in text.split(";") if _READS.search(piece))
    for name in _WORDS.findall(text):
        if name in routines:
            found += MANY if name in within else of_routine(name, routines, within)
    return MANY if found and _REPEATS.search(text) else min(found, MANY)


def of_routine(name: str, routines: Bodies, within: frozenset[str] = frozenset()) -> int:
    """Count them in a routine; the most of those that share its name."""
    return max(moments(body, routines, within | {name}) for body in routines[name])
