"""The lines of code around the one that a step names, if they can still be found."""

from __future__ import annotations

import linecache
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_SOURCE = re.compile(r"(?P<file>.+?):(?P<line>\d+)(?: in (?P<function>[^:]+))?(?:: (?P<code>.*))?", re.DOTALL)
_BEFORE, _AFTER = 4, 2


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Some lines of code, and the file that they are in, if it was found."""

    lines: Sequence[CodeLine] = ()
    file: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True)
class CodeLine:
    """One line of an excerpt; `here` is the one it is about."""

    number: int
    text: str
    here: bool


def place(source: str) -> str:
    """The part of a step's source that says where, without the code."""
    match = _SOURCE.fullmatch(source)
    if match is None:
        return source
    function = f" in {match['function']}" if match["function"] else ""
    return f"{match['file']}:{match['line']}{function}"


def excerpt(source: str) -> Excerpt:
    """Return the code around a step's source, "shop/services.py:42 in buy: show.save()".

    A source names a file by its last folder alone.  The file is looked for among
    the modules that are loaded and on `sys.path`, and its line must be the one
    that was named; otherwise what was named is all there is to show.
    """
    match = _SOURCE.fullmatch(source)
    if match is None:
        return Excerpt()
    number, code = int(match["line"]), (match["code"] or "").strip()
    for file in _files(match["file"]):
        lines = linecache.getlines(file)
        if number <= len(lines) and _is_same(lines[number - 1], code):
            return Excerpt(_around(lines, number), file, number)
    return Excerpt([CodeLine(number, code, here=True)]) if code else Excerpt()


def _files(short: str) -> Iterator[str]:
    ending = f"/{short}"
    for module in list(sys.modules.values()):
        file = getattr(module, "__dict__", {}).get("__file__")  # no attribute access: some modules load on it
        if isinstance(file, str) and file.replace("\\", "/").endswith(ending):
            yield file
    for folder in sys.path:
        candidate = Path(folder, short)
        if candidate.is_file():
            yield str(candidate)


def _is_same(line: str, code: str) -> bool:
    stripped = line.strip()
    return stripped.startswith(code[:-3]) if code.endswith("...") else stripped == code or not code


def _around(lines: list[str], number: int) -> list[CodeLine]:
    first = max(number - _BEFORE, 1)
    chosen = textwrap.dedent("".join(lines[first - 1 : number + _AFTER])).splitlines()
    around = [CodeLine(first + offset, text, first + offset == number) for offset, text in enumerate(chosen)]
    while not (around[0].text or around[0].here):
        around.pop(0)
    while not (around[-1].text or around[-1].here):
        around.pop()
    return around
