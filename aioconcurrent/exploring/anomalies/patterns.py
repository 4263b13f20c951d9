"""Patterns of reads and writes by which races are recognised."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product
from typing import Literal

from ...base.trace import Precedence, call_name
from ...sql.accesses import NEVER, Access, asks_whether
from ...sql.statements import Computed
from ..judging.evidence import Difference
from ..judging.values import ABSENT, alike, as_number, as_time, show
from .outdated import Row, Stale, aggregated, concerns, counts, only, stale_reads, timeless
from .stories import (
    as_of,
    cache_told,
    change_told,
    columns_told,
    insert_told,
    overtaken,
    place_told,
    read_told,
    row_told,
    rows_told,
    values_told,
    write_told,
)

Name = Literal[
    "lost update",
    "write skew",
    "phantom",
    "double insert",
    "read skew",
    "non-repeatable read",
    "intermediate read",
    "write cycle",
    "stale read",
    "stale cache",
    "stale snapshot",
    "resurrected row",
]
Manner = Literal[
    "",
    "lock too late",
    "whole row",
    "number of a row",
    "counted",
    "used up",
    "counter in a cache",
    "read back",
    "not committed",
    "made meanwhile",
    "nothing looks again",
    "in turn",
    "in between",
    "for a while",
    "worked out of others",
]
_NUMBER_AT_END = re.compile(r"(\d+)\D*$")


@dataclass(frozen=True, slots=True)
class Match:
    """A pattern found in a run.

    Attributes:
        name: Of the anomaly.
        story: What happened, without its result and without a full stop.
        tables: That it is about.
        columns: That it is about, the most telling first.
        steps: That it is about.
        readers: The calls that acted on what was no longer so.
        read: What was no longer so.
        change: What made it so.
        write: What was done as if it still were.
        manner: How, where several things that need different cures have one name.
        own: Of a whole row that was written the columns that the call itself has changed.
        consequences: The tables to which the readers then wrote.
    """

    name: Name
    story: str
    tables: tuple[str, ...]
    columns: tuple[str, ...]
    steps: tuple[int, ...]
    readers: tuple[int, ...]
    read: Access
    change: Access
    write: Access
    manner: Manner = ""
    own: tuple[str, ...] = ()
    consequences: tuple[str, ...] = ()

    @property
    def stale(self) -> Stale:
        """What was read and then changed."""
        return Stale(self.read, self.change, ())


@dataclass(frozen=True, slots=True)
class _Scene:
    """What a pattern is looked for in: what was read and then changed, everything that was done, and what is wrong."""

    stale: Sequence[Stale]
    accesses: Sequence[Access]
    differences: Sequence[Difference]


def _found(
    stale: Stale,
    name: Name,
    story: str,
    write: Access,
    columns: Sequence[str],
    *,
    tables: tuple[str, ...] = (),
    steps: Sequence[int] = (),
    manner: Manner = "",
    own: Sequence[str] = (),
    consequences: bool = False,
) -> Match:
    """The match that `write` went on as if there had been no change."""
    read, change = stale.read, stale.change
    return Match(
        name,
        story,
        tables or (read.table,),
        tuple(columns),
        tuple(steps) or (read.step, change.step, write.step),
        (read.call,),
        read,
        change,
        write,
        manner,
        tuple(own),
        tuple(access.table for access in stale.writes) if consequences else (),
    )


def find(accesses: Sequence[Access], differences: Sequence[Difference], *, is_error: bool = False) -> Match | None:
    """Return the pattern that explains the differences best; of equals the more specific one, then the nearest read.

    Args:
        is_error: Whether it is an error that is to be explained; a write that failed explains nothing else.
    """
    scene = _Scene(list(stale_reads(accesses)), accesses, differences)
    return _best(_PATTERNS, scene, is_error=is_error) or _best(_LAST_PATTERNS, scene, is_error=is_error)


def _best(patterns: Sequence[_Pattern], scene: _Scene, *, is_error: bool) -> Match | None:
    differences = scene.differences
    found = [
        (_fit(found, differences), -number, _nearness(found, differences), found.read.step, -index, found)
        for number, pattern in enumerate(patterns)
        for index, found in enumerate(pattern(scene))
        if is_error or not found.write.failed
    ]
    return max(found, key=lambda each: each[:-1], default=(None,))[-1]


def cycle(found: Match, accesses: Sequence[Access]) -> tuple[Precedence, ...]:
    """Return why each of the two calls comes before the other; nothing where the accesses do not tell both."""
    read, change, write = found.read, found.change, found.write
    if found.manner == "read back":
        return Precedence(write.step, change.step, "write"), Precedence(change.step, read.step, "seen")
    if found.manner == "in turn":
        first, second, third, fourth = found.steps
        return Precedence(first, second, "write"), Precedence(third, fourth, "write")
    if found.manner == "in between":
        first, second, third = found.steps
        return Precedence(first, second, "seen"), Precedence(second, third, "read")
    back = next(_back(change, write, read, accesses), None)
    there = Precedence(read.step, change.step, "write" if read.verb == "insert" else "read")
    return (there, back) if back is not None else ()


def _back(change: Access, write: Access, read: Access, accesses: Sequence[Access]) -> Iterator[Precedence]:
    """Reasons why the call that made the change comes before the call that read the old value."""
    both_write = write.writes and {write.verb, change.verb} <= {"update", "delete"} and write.call == read.call
    if both_write and write.done > change.done and write.meets(change):
        yield Precedence(change.step, write.step, "write")
    for each in stale_reads(accesses):
        if (each.read.call, each.change.call) == (change.call, read.call):
            yield Precedence(each.read.step, each.change.step, "read")
    for theirs in accesses:
        for seen in accesses:
            ours = seen.call == read.call and theirs.call == change.call and seen.table == theirs.table
            if ours and theirs.writes and not seen.writes and theirs.visible < seen.seen and concerns(theirs, seen):
                yield Precedence(theirs.step, seen.step, "seen")


def _fit(found: Match, differences: Sequence[Difference]) -> int:
    """Count how much of the differences a match speaks of."""
    fit = 0
    for difference in differences:
        if difference.place == "outcome":
            fit += difference.call in (*found.readers, found.change.call)
        elif difference.table.lower() in found.tables:
            column = re.split(r"[.\[]", difference.name)[0]
            fit += 2 if column in found.columns or column == "" else 1
        elif difference.table.lower() in found.consequences:
            fit += 1
        elif difference.table.startswith("cache "):
            fit += 2 * any(repr(key) in str(difference) for key in found.tables)
    return fit


def _nearness(found: Match, differences: Sequence[Difference]) -> tuple[int, bool]:
    """Prefer a read of the very row that was changed, and a reader whose own outcome differs."""
    near = 2 if found.stale.is_of_row else int(not aggregated(found.read))
    return near, any(each.call in found.readers for each in differences)


def _through_cache(scene: _Scene) -> Iterator[Match]:
    """An outdated value was read from the cache, or was put into it."""
    for each in scene.stale:
        read, change = each.read, each.change
        written = next((a for a in each.writes if a.verb == "set" and a.done > change.done), None)
        if written is None or (read.verb == "select" and written.table not in _cached(scene.accesses, read)):
            continue
        before = f"{cache_told(read, read.rows)} from the cache" if read.verb == "get" else read_told(each)
        story = (
            f"{call_name(read.call)} read {before} before {change_told(each)}, "
            f"and then put {cache_told(written, written.written)} into the cache"
        )
        is_counter = read.verb == "get" and read.table == written.table
        yield _found(
            each,
            "lost update" if is_counter else "stale cache",
            story,
            written,
            (read.table,),
            tables=(read.table, written.table),
            manner="counter in a cache" if is_counter else "",
        )


def _cached(accesses: Sequence[Access], read: Access) -> set[str]:
    """The keys that the reader looked for in the cache before it read the table."""
    return {each.table for each in accesses if each.verb == "get" and each.call == read.call and each.step < read.step}


def _lost_update(scene: _Scene) -> Iterator[Match]:
    """A row was read, then changed by another call, and then overwritten with a value made from the old one."""
    for each in (*scene.stale, *_known_by_inserting(scene.accesses)):
        if each.read.verb not in ("select", "insert") or not _can_be_lost(each):
            continue
        again = _read_again(each)
        for write, columns in _overwrites(each):
            is_of_read = not each.row or write.touches(each.row)
            if is_of_read and (again is None or _stands_at_the_end(columns, write, scene.differences)):
                yield _overwriting(each, write, columns, again)
                break


def _can_be_lost(each: Stale) -> bool:
    """Tell whether the change is one of a row, or made a row that was not there, which may then be written over."""
    if aggregated(each.read):
        return False
    return bool(each.row) if each.change.verb == "update" else each.change.verb == "insert" and not each.read.rows


def _known_by_inserting(accesses: Sequence[Access]) -> Iterator[Stale]:
    """Rows that a call has made, and so knows as if it had read them, until another changes them."""
    for made in accesses:
        for change in accesses:
            theirs = change.call != made.call and change.verb == "update" and change.writes
            if not theirs or not (made.writes and made.verb == "insert" and made.table == change.table):
                continue
            known = tuple(r for r in made.inserted if change.where.keys() <= r.keys() and change.touches(r))
            if known and made.visible < change.visible < NEVER:
                later = tuple(a for a in accesses if a.call == made.call and a.done > made.done)
                yield Stale(replace(made, rows=known), change, later)


def _lock_too_late(scene: _Scene) -> Iterator[Match]:
    """A row was locked only after it had been read, and was then overwritten."""
    for each in scene.stale:
        again = _read_again(each)
        if again is not None and again.locks and _can_be_lost(each):
            yield from (_overwriting(each, *over, again) for over in islice(_overwrites(each), 1))


def _overwrites(each: Stale) -> Iterator[tuple[Access, list[str]]]:
    """The writes of the reader over the change, and the columns that it had altered, times last."""
    theirs, row = only(each.change.written), each.row
    for write in each.writes:
        made = each.change.verb != "insert" or any(write.touches(new) for new in each.change.inserted)
        if write.verb == "update" and write.done > each.change.done and write.meets(each.change) and made:
            ours = only(write.written)
            columns = [c for c in ours if c in theirs and not isinstance(ours[c], Computed)]
            columns = timeless([c for c in columns if not row or not alike(row.get(c, ABSENT), theirs[c])], ours)
            if columns:
                yield write, columns


def _overwriting(each: Stale, write: Access, columns: list[str], again: Access | None) -> Match:
    read, change, row = each.read, each.change, each.row
    theirs, ours = only(change.written), only(write.written)
    before = overtaken(each, columns)
    unlike = [c for c in ours if c in row and not isinstance(ours[c], Computed) and not alike(ours[c], row[c])]
    own = timeless(unlike, ours)
    steps = [read.step, change.step, write.step]
    name: Name = "lost update"
    manner: Manner = ""
    if change.verb == "insert":
        manner = "made meanwhile"
        columns = [c for c in columns if c not in read.where] or columns
        shown = {column: ours[column] for column in columns}
        story = f"{before}, and then wrote {columns_told(shown, theirs)} over it"
    elif again is not None:
        manner = "lock too late"
        steps.insert(2, again.step)
        then = f"locked the row only then (step {again.step + 1})" if again.locks else "looked at it again"
        story = f"{before}, {then}, and wrote {values_told(write, columns, theirs)} over it all the same"
    elif not set(columns) & set(own):
        manner = "whole row"
        story = f"{before} and wrote {values_told(write, columns, theirs)} over it, which it had not changed itself"
    elif all(_loses_nothing(c, ours[c], theirs[c]) for c in columns):
        name = "stale read"
        story = f"{before}, and then wrote {values_told(write, columns)} as well"
        if all(as_time(ours[c]) is not None for c in columns):  # which moments these are, the clock has decided
            seen, them = read_told(each, columns), "it" if len(columns) == 1 else "them"
            who, other = call_name(read.call), call_name(change.call)
            story = f"{who} read {seen} before {other} set {them}, and then set {them} as well"
    else:
        story = f"{before} and wrote {values_told(write, columns, theirs)} over it"
        manner = "worked out of others" if _is_worked_out(each, ours[columns[0]]) else ""
    return _found(each, name, story, write, columns, steps=steps, manner=manner, own=own, consequences=True)


def _is_worked_out(each: Stale, value: object) -> bool:
    """Tell whether the reader got the value from a sum or a count of other rows."""
    worked_out = (again for again in each.later if again.verb == "select" and counts(again))
    return any(alike(value, told) for again in worked_out for told in only(again.rows).values())


def _loses_nothing(column: str, one: object, other: object) -> bool:
    """Tell whether the one may be written over the other: the same state, or another moment of the same."""
    if as_time(one) is not None and as_time(other) is not None:
        return True
    is_counted_with = not isinstance(one, bool) and not column.endswith("_id") and as_number(one) is not None
    return alike(one, other) and not is_counted_with


def _stands_at_the_end(columns: Sequence[str], write: Access, differences: Sequence[Difference]) -> bool:
    """Tell whether what was written is what no serial order leaves."""
    values = only(write.written)
    return any(
        each.place == "row" and each.name in columns and alike(values[each.name], each.found) for each in differences
    )


def _read_again(each: Stale) -> Access | None:
    """The second read of the row, after the change and before the reader wrote, if it found something else."""
    first = min((write.step for write in each.writes), default=0)
    return next(
        (
            again
            for again in each.later
            if again.verb == "select"
            and not again.in_vain
            and each.change.visible < max(again.done, again.step)
            and again.step < first
            and again.meets(each.read)
            and again.rows != each.read.rows
        ),
        None,
    )


def _resurrected(scene: _Scene) -> Iterator[Match]:
    """A row was read, deleted by another call, and inserted again by a save() that found no row to update."""
    for each in scene.stale:
        read, change, row = each.read, each.change, each.row
        if change.verb != "delete" or not each.is_of_row:
            continue
        for write in each.writes:
            values = only(write.written)
            same = [c for c in change.where if c in values and alike(values[c], row.get(c, ABSENT))]
            if write.verb == "insert" and write.table == read.table and same and write.done > change.done:
                vain = [a for a in each.later if a.in_vain and a.table == write.table and a.step < write.step][-1:]
                changed = [c for a in vain for c, v in only(a.written).items() if c in row and not alike(v, row[c])]
                story = (
                    f"{call_name(read.call)} read {row_told(each)} before {change_told(each)}, "
                    "and its save() made the row anew"
                )
                steps = (read.step, change.step, *[a.step for a in vain], write.step)
                own = timeless(changed, values)
                yield _found(each, "resurrected row", story, write, tuple(values), steps=steps, own=own)


def _double_insert(scene: _Scene) -> Iterator[Match]:
    """Both calls looked for a row, found none, and inserted it."""
    for each in scene.stale:
        read, change = each.read, each.change
        if read.verb != "select" or change.verb != "insert":
            continue
        for write in each.later:
            if write.verb != "insert" or write.table != read.table or write.done < change.done:
                continue
            theirs, ours = only(change.written), only(write.written)
            equal = [c for c in ours if c in theirs and ours[c] == theirs[c]]
            if any(ours.get(c) != theirs.get(c) for c in read.where if c in ours):
                continue
            looked = [c for c in equal if c in read.where] if _asks_for_one(read, ours) else []
            numbers = [c for c in equal if c not in read.where and not c.endswith("_id")]
            numbered = [] if looked else [c for c in numbers if _follows(ours[c], read)]
            if not looked and not numbered:
                continue
            who = call_name(read.call)
            tried = "tried to insert" if write.failed else "inserted"
            if looked:
                told = ", ".join(f"{c}={show(ours[c])}" for c in looked)
                before = f"{as_of(each)} before {insert_told(each, 'it')}"
                story = f"{who} found no {read.table} with {told}{before}, and {tried} one as well"
            else:
                saw, what = rows_told(read, change, numbered), show({c: ours[c] for c in numbered})
                before = f"{as_of(each)} before {insert_told(each, what)}"
                story = f"{who} read {saw} from {read.table}{before}, and {tried} the same as well"
            manner: Manner = "" if looked else "number of a row"
            yield _found(each, "double insert", story, write, looked or numbered, manner=manner)


def _follows(value: object, read: Access) -> bool:
    """Tell whether a value is the next after one that was read, or the first after none."""
    following = _last_number(value)
    if following is None or len(read.rows) > 1:
        return False
    seen = [_last_number(each) for each in only(read.rows).values()]
    return any((before or 0) + 1 == following for before in seen or [None])


def _last_number(value: object) -> int | None:
    """The number that a value is, or ends with."""
    if isinstance(value, bool) or as_time(value) is not None:
        return None
    if isinstance(value, str) and (match := _NUMBER_AT_END.search(value)):
        return int(match[1])
    number = as_number(value)
    return int(number) if number is not None and number == int(number) else None


def _asks_for_one(read: Access, ours: Row) -> bool:
    """Tell whether a read looked for one row, and not for all of a kind, or how many there are."""
    if read.in_vain:
        return _verb(read) == "update"
    if not aggregated(read) or asks_whether(read.text):
        return not read.rows and " LIMIT " in read.text.upper()
    is_none = "COUNT(" in read.text.upper() and not any(as_number(v) for v in only(read.rows).values())
    return is_none and all(c in read.where or as_time(value) is not None for c, value in ours.items())


def _stale_snapshot(scene: _Scene) -> Iterator[Match]:
    """A statement wrote by what it had read before it waited, or without what another call had not committed yet."""
    yield from _chosen_before_waiting(scene)
    for write in scene.accesses:
        if not (write.writes or write.in_vain):
            continue
        inner = [a for a in scene.accesses if a.step == write.step and not (a.writes or a.in_vain)]
        for change in scene.accesses:
            touched = [a for a in inner if a.table == change.table and change.writes and change.call != write.call]
            if not touched or not change.step < write.done or not write.step < change.visible < NEVER:
                continue
            who, other = call_name(write.call), call_name(change.call)
            read = f"{who} read {change.table} for its {_verb(write)} of {write.table}"
            if write.step < change.visible < write.done:
                story = f"{read} and then waited; what {other} wrote there became visible meanwhile and is not in it"
            elif change.step < write.step:
                story = f"{read} while what {other} had written there was not committed yet, so that it is not in it"
            else:
                continue
            steps, tables = (change.step, write.step), (write.table, change.table)
            columns = tuple(only(write.written))
            stale = Stale(touched[0], change, ())
            yield _found(stale, "stale snapshot", story, write, columns, tables=tables, steps=steps)


def _chosen_before_waiting(scene: _Scene) -> Iterator[Match]:
    """A locking read of PostgreSQL looked again at the rows that it had waited for, and at no others."""
    for read in scene.accesses:
        if not read.locks or read.vendor != "postgresql" or read.failed:
            continue
        for change in scene.accesses:
            theirs = change.writes and change.call != read.call and change.table == read.table
            if not theirs or not read.step < change.visible < read.done:
                continue
            new = [row for row in change.inserted if read.touches(row)] if change.verb == "insert" else []
            is_first = " ORDER BY " in read.text and " LIMIT " in read.text  # others may be the first since the change
            if new and not any(_is_in(row, read.rows) for row in new):
                what, then = "the row that", "is not among them"
            elif change.verb == "update" and is_first:
                what, then = "what", "was not looked at to choose them"
            else:
                continue
            story = (
                f"{call_name(read.call)} chose the rows of {read.table} that it locks and then waited; {what} "
                f"{call_name(change.call)} had written there became visible meanwhile and {then}"
            )
            later = [a for a in scene.accesses if a.call == read.call and a.writes and a.done > read.done]
            stale = Stale(read, change, tuple(later))
            columns = tuple(only(change.written))
            yield _found(
                stale, "stale snapshot", story, read, columns, steps=(read.step, change.step), consequences=True
            )


def _is_in(row: Row, rows: Sequence[Row]) -> bool:
    return any(all(alike(each[c], value) for c, value in row.items() if c in each) for each in rows)


def _crossed(scene: _Scene) -> Iterator[tuple[Stale, Stale]]:
    """Pairs of outdated reads of the database in which each of two calls read what the other then changed."""
    for one in scene.stale:
        for other in scene.stale:
            calls = (one.read.call, one.change.call)
            is_cached = "get" in (one.read.verb, other.read.verb)
            if calls == (other.change.call, other.read.call) and calls[0] < calls[1] and not is_cached:
                yield one, other


def _found_of_both(name: Name, one: Stale, other: Stale, what: str) -> Match:
    """What was found in a crossed pair, told from both sides; `what` they come to together."""
    return Match(
        name,
        f"{overtaken(one)}, and {overtaken(other)}: {what}",
        (one.read.table, other.read.table),
        (*one.columns, *other.columns),
        (one.read.step, other.read.step, one.change.step, other.change.step),
        (one.read.call, one.change.call),
        one.read,
        one.change,
        other.change,
    )


def _write_skew(scene: _Scene) -> Iterator[Match]:
    """Each of two calls read what the other then changed, and each wrote another row."""
    for one, other in _crossed(scene):
        if one.change not in other.writes or other.change not in one.writes:
            continue
        inserts = [change.verb == "insert" for change in (one.change, other.change)]
        # Of two changes of one row the second has overtaken, and not missed, the first.
        if not any(inserts) and one.change.meets(other.change):
            continue
        unseen = all(inserts) or not (one.read.rows and other.read.rows)  # a row that is not there cannot be locked
        yield _found_of_both("phantom" if unseen else "write skew", one, other, "each decided on what then changed")


def _read_twice(scene: _Scene) -> Iterator[Match]:
    """One read gave two results, or two reads saw one transaction of another call by halves."""
    for each in scene.stale:
        read, change = each.read, each.change
        if read.failed:
            continue  # it has seen nothing
        for again in each.later:
            if again.writes or again.failed or again.in_vain or again.seen <= change.visible:
                continue
            if any(a.failed and a.table == read.table and a.step < again.step for a in each.later):
                continue  # it looks again because an INSERT was refused, as get_or_create() does
            before = overtaken(each)
            if (again.text, again.where) == (read.text, read.where) and again.table == read.table:
                if again.rows == read.rows:
                    continue
                steady = len(again.rows) == len(read.rows) and not aggregated(read)
                name: Name = "non-repeatable read" if steady else "phantom"
                story = f"{before} and {rows_told(again, change, each.columns)} after it"
            elif (twin := _twin(change, again, scene.accesses)) is not None:
                name = "read skew"
                what = f"{call_name(twin.call)}'s {twin.verb} of {place_told(twin) or twin.table}"
                columns = [c for c in each.columns if c in only(twin.written)] or Stale(again, twin, ()).columns
                story = f"{before}, but {rows_told(again, twin, columns)} after {what}"
            elif again.table == read.table and again.rows and concerns(change, again) and not _writes_to(each):
                of_row = change.verb == "update" and each.is_of_row and Stale(again, change, ()).is_of_row
                name = "non-repeatable read" if of_row else "phantom"
                story = f"{before}, and {rows_told(again, change, each.columns)} after it"
            else:
                continue
            manner: Manner = "counted" if name == "phantom" else ""
            yield _found(each, name, story, again, each.columns, tables=(read.table, again.table), manner=manner)


def _writes_to(each: Stale) -> bool:
    return any(write.table == each.read.table for write in each.writes)


def _twin(change: Access, again: Access, accesses: Sequence[Access]) -> Access | None:
    """Another write of the changing call, which the second read did see."""
    for write in accesses:
        seen = write.writes and write.call == change.call and write.visible < again.seen
        if seen and write is not change and write.table == again.table and concerns(write, again):
            return write
    return None


def _read_back(scene: _Scene) -> Iterator[Match]:
    """A row was written, then written by another call, and only then read back."""
    for write in scene.accesses:
        if not write.writes or write.verb != "update":
            continue
        for change in scene.accesses:
            between = change.call != write.call and change.verb == "update" and change.writes and change.meets(write)
            if not between or not write.visible < change.visible < NEVER:
                continue
            for again in scene.accesses:
                if again.call != write.call or again.verb != "select" or again.in_vain or again.step < change.visible:
                    continue
                each = Stale(again, change, ())
                columns = [c for c in only(write.written) if c in only(change.written) and c in each.row]
                if each.is_of_row and columns and again.step > write.step:
                    who = call_name(write.call)
                    theirs, ours = values_told(change, columns), values_told(write, columns)
                    story = (
                        f"{who} updated {place_told(write)} to {ours}, and {call_name(change.call)} to {theirs}, "
                        f"before {who} read back {rows_told(again, change, columns)}"
                    )
                    steps, tables = (write.step, change.step, again.step), (write.table,)
                    name: Name = "non-repeatable read"
                    yield _found(each, name, story, write, columns, tables=tables, steps=steps, manner="read back")
                break


def _decided(scene: _Scene) -> Iterator[Match]:
    """A call wrote something after it had read what was then changed."""
    for each in scene.stale:
        read, change = each.read, each.change
        writes = [a for a in each.later if (a.writes or a.in_vain) and a.done > change.done]
        if not writes or _read_again(each) is not None:
            continue
        write = writes[0]
        looked_for = each.is_of_row or asks_whether(read.text)
        is_gone = change.verb == "delete" and not looked_for
        name: Name = "phantom" if change.verb == "insert" or is_gone else "stale read"
        if "get" in (read.verb, change.verb):
            name = "stale cache"
        if write.in_vain:
            verb = {"delete": "deleting it", "update": "updating it"}.get(_verb(write), "writing it")
            story = f"{overtaken(each)}; {verb} afterwards found no row"
        else:
            story = f"{overtaken(each)}, and went on to {write_told(write)} as if it were still so"
        manner: Manner = "used up" if change.verb == "delete" and looked_for else ""
        if not manner and each.is_of_row and not any(_is_written_by_key(each, a) for a in (*writes, *each.writes)):
            manner = "nothing looks again"
        yield _found(each, name, story, write, each.columns, manner=manner, consequences=True)


def _is_written_by_key(each: Stale, write: Access) -> bool:
    """Tell whether a write is one of the row that was read, into which a condition can be put."""
    by_key = "id" in write.where or bool(write.where.keys() & each.read.where.keys())
    return _verb(write) == "update" and write.table == each.read.table and by_key and write.touches(each.row)


def _not_committed(scene: _Scene) -> Iterator[Match]:
    """A row was looked for by its key, which another call had handed on before it committed the row."""
    for each in scene.stale:
        read, change = each.read, each.change
        told = change.verb == "insert" and change.done < read.step and not read.rows and read.verb == "select"
        made = [row for row in (*change.rows, *change.written) if read.where and read.touches(row)]
        known = any(column in row for row in made for column in read.where)
        if told and known and not each.writes:
            what = rows_told(read, change, ()).removeprefix("no row of ")
            who, other = call_name(read.call), call_name(change.call)
            story = f"{who} looked for {what}, which {other} had inserted and not committed yet"
            yield _found(each, "stale read", story, read, (), steps=(change.step, read.step), manner="not committed")


def _neither_saw(scene: _Scene) -> Iterator[Match]:
    """Each call looked for what the other writes, and that was not there or not committed yet."""
    for one, other in _crossed(scene):
        both_insert = one.change.verb == other.change.verb == "insert"
        if both_insert or not one.change.meets(other.change):
            name: Name = "phantom" if both_insert else "write skew"
            yield _found_of_both(name, one, other, "neither saw what the other wrote")


def _between_writes(scene: _Scene) -> Iterator[Match]:
    """A row was read after the first write of another call and before its second."""
    for each in scene.stale:
        read, change = each.read, each.change
        if not each.is_of_row or change.verb != "update":
            continue
        for first in scene.accesses:
            if first.call != change.call or not first.writes or first.table != read.table or first.step >= read.step:
                continue
            given = first.inserted if first.verb == "insert" else first.written
            made = next((row for row in given if first.verb == "insert" or first.touches(each.row)), {})
            columns = [c for c in each.columns if c in made and c in each.row and alike(made[c], each.row[c])]
            if columns and first.visible < read.seen:
                other = call_name(change.call)
                before = f"{call_name(read.call)} read {read_told(each, columns)}, as {other} had written it first"
                story = f"{before}, before {change_told(each, columns)}"
                steps = (first.step, read.step, change.step)
                yield _found(each, "intermediate read", story, read, columns, steps=steps, manner="in between")
                break


def _writes_in_turn(scene: _Scene) -> Iterator[Match]:
    """Of two calls that write the same rows twice, each wrote over what the other had written."""
    updates = [a for a in scene.accesses if a.writes and a.verb == "update" and a.visible < NEVER]
    overs = [(a, b) for a in updates for b in updates if a.done < b.done and _writes_over(a, b)]
    for ours, over in overs:
        for theirs, back in overs:
            if (theirs.call, back.call) == (over.call, ours.call) and ours.call < over.call:
                steps, tables = (ours.step, over.step, theirs.step, back.step), (ours.table, theirs.table)
                columns = (*_shared(ours, over), *_shared(theirs, back))
                story = f"{_in_turn_told(ours, over)}, but {_in_turn_told(theirs, back)}"
                stale = Stale(ours, over, ())
                yield _found(stale, "write cycle", story, back, columns, tables=tables, steps=steps, manner="in turn")


def _writes_over(one: Access, other: Access) -> bool:
    return one.call != other.call and one.meets(other) and bool(_shared(one, other))


def _in_turn_told(one: Access, other: Access) -> str:
    columns, (first, second) = _shared(one, other), (f"{call_name(each.call)}'s" for each in (one, other))
    return (
        f"{first} update of {place_told(one) or one.table} to {values_told(one, columns)} came before {second} of "
        f"{place_told(other) or other.table} to {values_told(other, columns)}"
    )


def _shared(one: Access, other: Access) -> list[str]:
    """The columns that both set to values of their own, times last."""
    mine, theirs = only(one.written), only(other.written)
    known = [c for c in mine if c in theirs and not isinstance(mine[c], Computed)]
    return timeless([c for c in known if not isinstance(theirs[c], Computed) and not alike(mine[c], theirs[c])], mine)


def _cached_in_turn(scene: _Scene) -> Iterator[Match]:
    """Two calls wrote a row in one order, and what they put into the cache in the other."""
    updates = [a for a in scene.accesses if a.writes and a.verb == "update" and a.visible < NEVER]
    puts = [a for a in scene.accesses if a.verb == "set" and not a.failed and a.written]
    written = [(one, two) for one, two in product(updates, repeat=2) if one.done <= two.done and _writes_over(one, two)]
    put = [(one, two) for one, two in product(puts, repeat=2) if one.table == two.table and one.done < two.done]
    for (first, second), (theirs, back) in product(written, put):
        if (back.call, theirs.call) != (first.call, second.call) or back.done < first.done:
            continue
        told = f"{call_name(back.call)} put {cache_told(back, back.written)} into the cache"
        value = show(only(theirs.written).get(theirs.table))
        yield _found(
            Stale(first, second, ()),
            "stale cache",
            f"{_in_turn_told(first, second)}, but {told} after {call_name(theirs.call)} had put there {value}",
            back,
            _shared(first, second),
            tables=(first.table, back.table),
            steps=(first.step, second.step, theirs.step, back.step),
            manner="in turn",
        )


def _between_puts(scene: _Scene) -> Iterator[Match]:
    """A key was read that another call put into the cache for a while."""
    for each in scene.stale:
        read, change = each.read, each.change
        if read.verb != "get":
            continue
        for first in scene.accesses:
            same = (first.verb, first.call, first.table) == ("set", change.call, read.table)
            if same and first.done < read.step and (not read.rows or only(first.written) in read.rows):
                told = cache_told(first, first.written)
                story = (
                    f"{call_name(read.call)} found {told} in the cache, as {call_name(first.call)} had put it there, "
                    f"before {change_told(each)}"
                )
                steps = (first.step, read.step, change.step)
                yield _found(each, "intermediate read", story, read, (read.table,), steps=steps, manner="for a while")


def _among_moves(scene: _Scene) -> Iterator[Match]:
    """Rows were looked for by what another call changes in several of them, after it had changed some."""
    for each in scene.stale:
        read, change = each.read, each.change
        asked = [column for column in only(change.written) if column in read.where]
        if change.verb != "update" or not asked:
            continue
        for first in scene.accesses:
            moves = first.writes and first.verb == "update" and (first.call, first.table) == (change.call, read.table)
            moved = {column: value for column, value in only(first.written).items() if column in asked}
            if moves and first.visible < read.seen and moved:
                place = place_told(first) or first.table
                before = f"{call_name(first.call)}'s update of {place} to {columns_told(moved)}"
                story = f"{call_name(read.call)} read {read_told(each, asked)} after {before}, and before "
                story += change_told(each, asked)
                steps = (first.step, read.step, change.step)
                yield _found(each, "intermediate read", story, read, asked, steps=steps, manner="in between")
                break


def _by_condition(scene: _Scene) -> Iterator[Match]:
    """Rows were written by a condition, before another call made one more that fulfils it."""
    for read in scene.accesses:
        by_condition = (read.writes or read.in_vain) and _verb(read) in ("update", "delete") and "id" not in read.where
        later = [a for a in scene.accesses if a.call == read.call and a.writes and a.step > read.step]
        if not by_condition or not read.where or not later:
            continue
        for change in scene.accesses:
            theirs = change.writes and change.call != read.call and change.table == read.table
            if theirs and read.step < change.visible < NEVER and _fulfils(change, read):
                told = columns_told({column: min(allowed, key=repr) for column, allowed in read.where.items()})
                done = {"update": "updated", "delete": "deleted"}[_verb(read)]
                story = (
                    f"{call_name(read.call)} {done} the rows of {read.table} with {told} before "
                    f"{change_told(Stale(read, change, ()))}, and went on to {write_told(later[0])}"
                )
                columns = tuple(column for column in only(change.written) if column in read.where)
                yield _found(Stale(read, change, tuple(later)), "phantom", story, later[0], columns, consequences=True)


def _fulfils(change: Access, read: Access) -> bool:
    """Tell whether a change makes a row one that a condition asks for."""
    if change.verb == "insert":
        return any(read.touches(row) for row in change.inserted)
    values = only(change.written)
    return bool(read.where.keys() & values.keys()) and change.verb == "update" and read.touches(values)


_Pattern = Callable[[_Scene], Iterator[Match]]
# The more specific before the more general: of two that fit equally well the first is taken.
_PATTERNS: tuple[_Pattern, ...] = (
    _through_cache,
    _lost_update,
    _resurrected,
    _double_insert,
    _stale_snapshot,
    _write_skew,
    _read_back,
    _read_twice,
    _lock_too_late,
    _decided,
    _between_writes,
    _not_committed,
    _neither_saw,
    _writes_in_turn,
)
# What is looked for if none of these is found.
_LAST_PATTERNS: tuple[_Pattern, ...] = (_cached_in_turn, _between_puts, _by_condition, _among_moves)


def _verb(access: Access) -> str:
    return access.text.lstrip("( ").partition(" ")[0].lower()
