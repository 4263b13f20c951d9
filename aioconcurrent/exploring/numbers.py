"""The numbers that counters of keys give: moved to where a number tells whose key it is.

In a small table the key 2 may be any 2.  Counters are moved to ranges of their own, so
that a number out of one is the key of a row of that table wherever it stands, and
every other number is what it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

_FAR = 4157  # codes of four digits stay such, and keys of 16 bits keep room
_WIDTH = 211  # numbers at least; like the other, nothing that people count in


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers that the counter of a table's keys gives.

    Attributes:
        table: To whose rows.
        first: The first of them.
        end: The first that is none of them any more.
        moved_by: How much higher they are than where the counter was found.
    """

    table: str
    first: int
    end: int
    moved_by: int

    def __contains__(self, number: int) -> bool:
        return self.first <= number < self.end


def apart(table: str, first: int, count: int, taken: Sequence[Numbers]) -> Numbers:
    """Numbers for a counter that was found at `first` and gave `count` in a run, apart from those taken."""
    begin, width = first + _FAR, max(_WIDTH, 4 * count)
    while any(begin < other.end and other.first < begin + width for other in taken):
        begin += _WIDTH
    return Numbers(table, begin, begin + width, begin - first)
