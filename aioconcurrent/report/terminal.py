"""What a text is written for: a width in cells, with or without colours, in an encoding."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING, Literal

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.color import ColorSystem
from rich.style import Style as RichStyle

if TYPE_CHECKING:
    from collections.abc import Iterator

Style = Literal["plain", "head", "source", "marked", "trouble"]

WIDTH = 100  # where there is no terminal
_NARROWEST = 40
_STYLES = {"plain": "none", "head": "bold", "source": "cyan", "marked": "bold", "trouble": "red"}
_LINES = str.maketrans("│─┼", "|-+")


@dataclass(frozen=True, slots=True)
class Paper:
    """What a text is written for.

    Attributes:
        width: How many cells a line has.
        is_coloured: Whether it may have colours.
        encoding: Of what it is written to; what that does not have is told in ASCII.
    """

    width: int = WIDTH
    is_coloured: bool = False
    encoding: str = "utf-8"

    @classmethod
    def of_output(cls, width: int | None = None) -> Paper:
        """What is printed here: as wide as the terminal, and without colours, for it may be kept in a file."""
        columns = shutil.get_terminal_size((WIDTH, 0)).columns if width is None else width
        return cls(max(columns, _NARROWEST), encoding=getattr(sys.stdout, "encoding", None) or "utf-8")

    def styled(self, text: str, style: Style) -> str:
        """The text with its colour, if there are colours."""
        if not self.is_coloured or style == "plain":
            return text
        return RichStyle.parse(_STYLES[style]).render(text, color_system=ColorSystem.STANDARD)

    def fitting(self, text: str) -> str:
        """The text in ASCII if the encoding has not all of its characters."""
        try:
            text.encode(self.encoding)
        except (UnicodeEncodeError, LookupError):
            return text.translate(_LINES).encode("ascii", "backslashreplace").decode()
        return text


def cut(text: str, width: int) -> str:
    """The text, or as much of it as so many cells hold, with dots."""
    return text if cell_len(text) <= width else f"{set_cell_size(text, width - 3).rstrip()}..."


def broken(text: str, width: int, lead: str = "") -> list[str]:
    """Break a text into lines of so many cells, each with what leads it, and those after the first further in."""
    if text.isascii():
        return wrap(text, width, initial_indent=lead, subsequent_indent=f"{lead}  ", break_on_hyphens=False)
    lines = [*_broken_by_cells(text, width - len(lead) - 2)]
    return [f"{lead}{'  ' if number else ''}{line}" for number, line in enumerate(lines)]


def _broken_by_cells(text: str, width: int) -> Iterator[str]:
    line = ""
    for word in text.split():
        joined = f"{line} {word}" if line else word
        if cell_len(joined) <= width:
            line = joined
            continue
        if line:
            yield line
        *full, line = chop_cells(word, width)
        yield from full
    yield line
