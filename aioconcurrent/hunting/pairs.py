"""Which pairs of actions are worth exploring, told from one recorded run of each.

The prediction is that of 2AD (Warszawski and Bailis, "ACIDRain", SIGMOD 2017): orders
of two actions can end unlike serial ones only if their conflicts close a cycle.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

from ..exploring.orders.footprint import footprint

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from ..base.trace import Operation
    from ..databases.schema import Catalogue

_STATEMENTS = frozenset({"sql", "many", "fetch", "callproc"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_LISTS = re.compile(r"\((?:%s|\?|NULL)(?:,\s*(?:%s|\?|NULL))+\)")
_SPACES = re.compile(r"\s+")
_ANSWERS = re.compile(r"; one after the other, A .*", re.DOTALL)  # as `evidence.answers` begins
_VALUES = re.compile(r"aioc1:\S*\w|'[^']*'|\"[^\"]*\"|\b[0-9a-f]{8,}\b|\d+(?:\.\d+)?")

# How dangerous a pair is, the most first.
OVERWRITES = 3  # it writes what it has read, and the other one writes that as well
RELIES = 2  # it reads, and then writes, what the other one's writes decide
MEETS = 1  # their conflicts close a cycle, and that is all


@dataclass(frozen=True, slots=True)
class Touch:
    """What one statement of an action touches; `shape` is its text without values."""

    shape: str
    reads: frozenset[str]
    writes: frozenset[str]
    inserts: bool = False
    locks: bool = False
    is_moment: bool = True

    def conflicts(self, other: Touch) -> bool:
        """Whether it matters which of the two comes first; two INSERTs have keys of their own."""
        shared = self.writes & other.writes if not (self.inserts and other.inserts) else frozenset()
        return bool(shared or self.writes & other.reads or self.reads & other.writes)


@dataclass(frozen=True)
class Record:
    """One recorded run of an action.

    Attributes:
        test: The id of the test.
        number: Which of the test's actions of this name it is, counted from 0.
        name: Of the action, without values, as "POST shop/<int:pk>/buy/".
        touches: Of its statements, in order.
        enqueues: Whether it leaves anything to workers of a queue.
    """

    test: str
    number: int
    name: str
    touches: tuple[Touch, ...]
    enqueues: bool = False

    @cached_property
    def writes(self) -> bool:
        """Whether it changes anything."""
        return any(touch.writes for touch in self.touches)

    @cached_property
    def shape(self) -> str:
        """The same for two records of the same statements, whatever their values and repetitions."""
        text = "\n".join(dict.fromkeys(touch.shape for touch in self.touches))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Pair:
    """Two actions of one test that are to be explored together, when the test comes to the second.

    Attributes:
        first: The record of the earlier one.
        second: Of the later one; the same if an action is to meet itself.
        danger: `OVERWRITES`, `RELIES` or `MEETS`.
        is_alone: It is one action that comes once, and meets what it enqueues.
    """

    first: Record
    second: Record
    danger: int
    is_alone: bool = False

    @property
    def is_twice(self) -> bool:
        """Whether it is one action that comes twice."""
        return self.first is self.second and not self.is_alone

    @property
    def is_said_to_read(self) -> bool:
        """Whether one of them is a request of a method that is not meant to change anything."""
        return any(name.partition(" ")[0] in _SAFE_METHODS for name in self.names)

    @property
    def names(self) -> tuple[str, str]:
        """The names of both, in the order of the alphabet."""
        one, other = sorted((self.first.name, self.second.name))
        return one, "what it enqueues" if self.is_alone else other

    @property
    def key(self) -> tuple[str, ...]:
        """The same for two pairs of the same actions with statements of the same shape."""
        both = sorted([(self.first.name, self.first.shape), (self.second.name, self.second.shape)])
        return (*both[0], *both[1], "twice" if self.is_twice else "alone" if self.is_alone else "")

    def __str__(self) -> str:
        if self.is_alone:
            return f"{self.first.name} beside what it enqueues"
        return f"{self.first.name} twice" if self.is_twice else f"{self.first.name} beside {self.second.name}"


@dataclass
class Unhunted:
    """Why pairs were not explored, and how many each reason holds for.

    Reasons that differ in values alone are one, told in the words of the first, less what its calls answered.
    """

    counts: dict[str, int] = field(default_factory=dict)
    _told: dict[str, str] = field(default_factory=dict, repr=False)

    def add(self, reason: str, count: int = 1) -> None:
        """Count one more."""
        if count:
            shape = _VALUES.sub("...", _ANSWERS.sub("", reason))
            told = self._told.setdefault(shape, reason)
            before = self.counts.pop(told, 0)
            if told != reason:
                told = self._told[shape] = _ANSWERS.sub("", told)
            self.counts[told] = before + count


def touches(operations: Iterable[Operation], catalogue: Catalogue, ignored: Collection[str]) -> tuple[Touch, ...]:
    """What statements touch, less tables that do not count; those that touch nothing are left out."""
    found = []
    for operation in operations:
        if operation.kind not in _STATEMENTS:
            continue
        touched, text = footprint(operation, catalogue), shape_of(operation.text)
        if touched.everything:
            anything = catalogue.tables - frozenset(ignored)
            found.append(Touch(text, anything, anything))
            continue
        reads = frozenset(map(_named, touched.reads)) - frozenset(ignored)
        writes = frozenset(map(_named, touched.writes)) - frozenset(ignored)
        if reads or writes:
            inserts = text[:6].upper() == "INSERT" and " SELECT " not in text.upper()
            reads -= writes if inserts else frozenset()
            found.append(Touch(text, reads, writes, inserts, bool(touched.locks | touched.shares), touched.moment))
    return tuple(found)


def shape_of(sql: str) -> str:
    """The text of a statement whatever the number of values in its lists."""
    return _LISTS.sub("(...)", _SPACES.sub(" ", sql.strip()))


def _named(table: str) -> str:
    """The name of a table without that of its database, which differs between two processes of one suite."""
    return table.rpartition(".")[2]


def pairs(records: Sequence[Record], *, with_readers: bool = False) -> Iterator[Pair]:
    """The pairs of one test's actions that can end as no serial order does; an action and its tasks are one, too.

    Args:
        with_readers: Also pairs of which one only reads.
    """
    for record in records:
        if record.enqueues:
            yield Pair(record, record, RELIES, is_alone=True)
    hunted = [record for record in records if record.writes or with_readers]
    for index, second in enumerate(hunted):
        for first in hunted[: index + 1]:
            danger = _danger(first.touches, second.touches)
            if danger:
                yield Pair(first, second, danger)


def _danger(one: Sequence[Touch], other: Sequence[Touch]) -> int:
    conflicts = [(mine, theirs) for mine, theirs in product(one, other) if mine.conflicts(theirs)]
    if len(conflicts) < 2 and all(mine.is_moment and theirs.is_moment for mine, theirs in conflicts):
        return 0
    return max(_manner(one, other), _manner(other, one))


def _manner(one: Sequence[Touch], other: Sequence[Touch]) -> int:
    written = frozenset().union(*(touch.writes for touch in other))
    found = MEETS
    read: frozenset[str] = frozenset()
    for touch in one:
        if touch.writes & read & written:
            return OVERWRITES
        if touch.writes and read & written:
            found = RELIES
        if not touch.locks:
            read |= touch.reads
    return found
