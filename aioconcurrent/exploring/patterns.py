"""Patterns of reading and writing by which races are known."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from .._trace import call_name
from .accesses import NEVER, Access, Computed
from .differences import ABSENT, Difference, show
from .equality import alike, as_number, as_time
from .stories import (
    Row,
    Stale,
    aggregated,
    altered,
    looks_for_any,
    named,
    named_place,
    only,
    place_of,
    telling,
    told_change,
    told_read,
    told_rows,
    told_values,
    told_write,
)

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
]


@dataclass(frozen=True, slots=True)
class Finding:
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

    name: str
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
    def place(self) -> str:
        """The row that it is about, as "account id=1"; empty if it is not about one."""
        stale = Stale(self.read, self.change, ())
        return place_of(stale)


def find(accesses: Sequence[Access], differences: Sequence[Difference]) -> Finding | None:
    """Return the pattern that explains the differences best; of equals the more specific one, then the nearest read."""
    stale = list(_stale(accesses))
    found = [
        (_fit(finding, differences), -number, _meant(finding, differences), finding.read.step, -index, finding)
        for number, pattern in enumerate(_PATTERNS)
        for index, finding in enumerate(pattern(stale, accesses, differences))
    ]
    return max(found, key=lambda each: each[:-1], default=(None,))[-1]


def _fit(finding: Finding, differences: Sequence[Difference]) -> int:
    """Count how much of the differences a finding speaks of."""
    fit = 0
    for difference in differences:
        if difference.place == "outcome":
            fit += difference.call in (*finding.readers, finding.change.call)
        elif difference.table.lower() in finding.tables:
            column = re.split(r"[.\[]", difference.name)[0]
            fit += 2 if column in finding.columns or column == "" else 1
        elif difference.table.lower() in finding.consequences:
            fit += 1
        elif difference.table.startswith("cache "):
            fit += 2 * any(repr(key) in str(difference) for key in finding.tables)
    return fit


def _meant(finding: Finding, differences: Sequence[Difference]) -> tuple[int, bool]:
    """How plainly the read is one of what was changed, and whether it is of a call that came to something else."""
    stale = Stale(finding.read, finding.change, ())
    near = 2 if stale.is_of_row else int(not aggregated(finding.read))
    return near, any(each.call in finding.readers for each in differences)


def _stale(accesses: Sequence[Access]) -> Iterator[Stale]:
    for read in accesses:
        for change in accesses:
            if read.writes or not change.writes or change.call == read.call or change.table != read.table:
                continue
            # What became visible before the read was in it; what never became visible is no change.
            if read.seen < change.visible < NEVER and _concerns(change, read):
                later = [a for a in accesses if a.call == read.call and a.done > read.done]
                yield Stale(read, change, tuple(later))


def _concerns(change: Access, read: Access) -> bool:
    """Tell whether what was read would be something else after the change."""
    if change.verb == "insert":
        return not change.written or any(read.touches(row) for row in change.written)
    if not change.meets(read):
        return False
    return not read.rows or aggregated(read) or any(change.touches(row) for row in read.rows)


_Pattern = Callable[[Sequence[Stale], Sequence[Access], Sequence[Difference]], Iterator[Finding]]


def _through_cache(
    stale: Sequence[Stale], accesses: Sequence[Access], differences: Sequence[Difference]
) -> Iterator[Finding]:
    """A value from the cache, or put into it, that is not so any more."""
    for each in stale:
        read, change = each.read, each.change
        written = next((a for a in each.writes if a.verb == "set" and a.done > change.done), None)
        if written is None or (read.verb == "select" and written.table not in _cached(accesses, read)):
            continue
        before = named(read.rows, read.table) if read.verb == "get" else told_read(each)
        where = " from the cache" if read.verb == "get" else ""
        story = (
            f"{call_name(read.call)} read {before}{where} before {told_change(each)}, "
            f"and then put {named(written.written, written.table)} into the cache"
        )
        steps = (read.step, change.step, written.step)
        tables = (read.table, written.table)
        counts = read.verb == "get" and read.table == written.table
        name = "lost update" if counts else "stale cache"
        manner: Manner = "counter in a cache" if counts else ""
        yield Finding(name, story, tables, (read.table,), steps, (read.call,), read, change, written, manner)


def _cached(accesses: Sequence[Access], read: Access) -> set[str]:
    """The keys that the reader looked for in the cache before it read the table."""
    return {each.table for each in accesses if each.verb == "get" and each.call == read.call and each.step < read.step}


def _lost_update(
    stale: Sequence[Stale], accesses: Sequence[Access], differences: Sequence[Difference]
) -> Iterator[Finding]:
    """Read, changed by another, and written over with what was made of the value read."""
    for each in stale:
        read, change = each.read, each.change
        if read.verb != "select" or change.verb != "update" or aggregated(read):
            continue
        again = _read_again(each)
        for write in each.writes:
            over = write.verb == "update" and write.done > change.done and write.meets(change) and _of_read(each, write)
            columns = _overwritten(each, write) if over else []
            if columns and (again is None or _stand_at_the_end(columns, write, differences)):
                yield _overwriting(each, write, columns, again)
                break


def _overwriting(each: Stale, write: Access, columns: list[str], again: Access | None) -> Finding:
    read, change = each.read, each.change
    theirs, ours, row = only(change.written), only(write.written), each.row
    before = f"{call_name(read.call)} read {told_read(each, columns)} before {told_change(each, columns)}"
    unlike = [c for c in ours if c in row and not isinstance(ours[c], Computed) and not alike(ours[c], row[c])]
    own = tuple(telling(unlike, ours))
    steps = [read.step, change.step, write.step]
    name = "lost update"
    manner: Manner = ""
    if again is not None:
        manner = "lock too late"
        steps.insert(2, again.step)
        then = f"locked the row only then (step {again.step + 1})" if again.locks else "looked at it again"
        story = f"{before}, {then}, and wrote {told_values(write, columns, theirs)} over it all the same"
    elif not set(columns) & set(own):
        manner = "whole row"
        story = f"{before} and wrote {told_values(write, columns, theirs)} over it, which it had not changed itself"
    elif all(_is_same(c, ours[c], theirs[c]) for c in columns):
        name = "stale read"
        story = f"{before}, and then wrote {told_values(write, columns)} as well"
        if all(as_time(ours[c]) is not None for c in columns):  # which moments these are, the clock has decided
            seen, them = told_read(each, columns), "it" if len(columns) == 1 else "them"
            who, other = call_name(read.call), call_name(change.call)
            story = f"{who} read {seen} before {other} set {them}, and then set {them} as well"
    else:
        story = f"{before} and wrote {told_values(write, columns, theirs)} over it"
    after = tuple(a.table for a in each.writes)
    return Finding(
        name,
        story,
        (read.table,),
        tuple(columns),
        tuple(steps),
        (read.call,),
        read,
        change,
        write,
        manner,
        own,
        after,
    )


def _is_same(column: str, one: object, other: object) -> bool:
    """Tell whether writing the one over the other loses nothing: the same state, or another moment of the same."""
    if as_time(one) is not None and as_time(other) is not None:
        return True
    return alike(one, other) and not _is_number(column, one)


def _is_number(column: str, value: object) -> bool:
    """Tell whether a value is one that is counted with, and no flag, key or text."""
    return not isinstance(value, bool) and not column.endswith("_id") and as_number(value) is not None


def _of_read(each: Stale, write: Access) -> bool:
    """Tell whether what was written is the row that was read."""
    return not each.row or write.touches(each.row)


def _stand_at_the_end(columns: Sequence[str], write: Access, differences: Sequence[Difference]) -> bool:
    """Tell whether what was written is what no serial order leaves."""
    values = only(write.written)
    return any(
        each.place == "row" and each.name in columns and alike(values[each.name], each.found) for each in differences
    )


def _lock_too_late(
    stale: Sequence[Stale], accesses: Sequence[Access], differences: Sequence[Difference]
) -> Iterator[Finding]:
    """Locked after it was read, and then written over."""
    for each in stale:
        again = _read_again(each)
        if again is None or not again.locks or each.change.verb != "update" or aggregated(each.read):
            continue
        for write in each.writes:
            over = write.verb == "update" and write.done > each.change.done and write.meets(each.change)
            columns = _overwritten(each, write) if over else []
            if columns:
                yield _overwriting(each, write, columns, again)
                break


def _read_again(each: Stale) -> Access | None:
    """The look that the reader took at the row once more after the change, before it wrote."""
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


def _overwritten(each: Stale, write: Access) -> list[str]:
    """The columns that the change altered and the reader then wrote by a plain value, times last."""
    ours, theirs = only(write.written), only(each.change.written)
    columns = [c for c in ours if c in theirs and not isinstance(ours[c], Computed)]
    return telling([c for c in columns if not each.row or not alike(each.row.get(c, ABSENT), theirs[c])], ours)


def _resurrected(
    stale: Sequence[Stale], accesses: Sequence[Access], differences: Sequence[Difference]
) -> Iterator[Finding]:
    """Read, deleted by another, and written anew, as save() does that finds no row to update."""
    for each in stale:
        if each.change.verb != "delete" or not each.is_of_row:
            continue
        for write in each.writes:
            values = only(write.written)
            same = [c for c in each.change.where if c in values and alike(values[c], each.row.get(c, ABSENT))]
            if write.verb == "insert" and write.table == each.read.table and same and write.done > each.change.done:
                vain = [a for a in each.later if a.in_vain and a.table == write.table and a.step < write.step]
                changed = vain and {c: v for c, v in only(vain[-1].written).items() if c in each.row}
                own = telling([c for c, v in dict(changed or ()).items() if not alike(v, each.row[c])], values)
                place = place_of(each)
                who = call_name(each.read.call)
                story = f"{who} read {place} before {told_change(each)}, and its save() made the row anew"
                steps = (each.read.step, each.change.step, *[a.step for a in vain[-1:]], write.step)
                read, change = each.read, each.change
                yield Finding(
                    "resurrected row",
                    story,
                    (read.table,),
                    tuple(values),
                    steps,
                    (read.call,),
                    read,
                    change,
                    write,
                    own=tuple(own),
                )


def _double_insert(
    stale: Sequence[Stale], accesses: Sequence[Access], differences: Sequence[Difference]
) -> Iterator[Finding]:
    """Looked for, not found, and inserted by both."""
    for each in stale:
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
            who, other = call_name(read.call), call_name(change.call)
            tried = "tried to insert" if write.failed else "inserted"
            if looked:
                told = ", ".join(f"{c}={show(ours[c])}" for c in looked)
                story = f"{who} found no {read.table} with {told} before {other} inserted it, and {tried} one as well"
            else:
                saw, what = told_rows(read, change, numbered), show({c: ours[c] for c in numbered})
                story = (
                    f"{who} read {saw} from {read.table} before {other} inserted {what}, and {tried} the same as well"
                )
            steps = (read.step, change.step, write.step)
            columns = tuple(looked or numbered)
            manner: Manner = "" if looked else "number of a row"
            tables, readers = (read.table,), (read.call,)
            yield Finding("double insert", story, tables, columns, steps, readers, read, change, write, manner)


_NUMBER_AT_END = re.compile(r"(\d+)\D*$")


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
    if not aggregated(read) or looks_for_any(read):
        return not read.rows and " LIMIT " in read.text.upper()
    is_none = "COUNT(" in read.text.upper() and not any(as_number(v) for v in only(read.rows).values())
    return is_none and all(c in read.where or as_time(value) is not None for c, value in ours.items())


def _stale_snapshot(
    stale: Sequence[Stale], accesses: Sequence[Access], differences: Sequence[Difference]
) -> Iterator[Finding]:
    """One statement that read before it waited and wrote after, or that did not see what was not committed yet."""
    for write in accesses:
        if not (write.writes or write.in_vain):
            continue
        inner = [a for a in accesses if a.step == write.step and not (a.writes or a.in_vain)]
        for change in accesses:
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
            columns, steps, tables = tuple(only(write.written)), (change.step, write.step), (write.table, change.table)
            yield Finding("stale snapshot", story, tables, columns, steps, (write.call,), touched[0], change, write)


def _write_skew(
    stale: Sequence[Stale], accesses: Sequence[Access], differences: Sequence[Difference]
) -> Iterator[Finding]:
    """Each read what the other then changed, and each wrote elsewhere."""
    for one in stale:
        for other in stale:
            calls = (one.read.call, one.change.call)
            if calls != (other.change.call, other.read.call) or calls[0] > calls[1]:
                continue
            if one.change not in other.writes or other.change not in one.writes:
                continue
            if "get" in (one.read.verb, other.read.verb) or _may_be_one_row(one.change, other.change):
                continue
            inserts = one.change.verb == other.change.verb == "insert"
            a, b = call_name(one.read.call), call_name(other.read.call)
            theirs = f"{b} read {told_read(other)} before {told_change(other)}"
            story = (
                f"{a} read {told_read(one)} before {told_change(one)}, and {theirs}: each decided on what then changed"
            )
            steps = (one.read.step, other.read.step, one.change.step, other.change.step)
            columns = (*altered(one), *altered(other))
            tables = (one.read.table, other.read.table)
            unseen = inserts or not (one.read.rows and other.read.rows)  # a row that is not there cannot be locked
            name = "phantom" if unseen else "write skew"
            yield Finding(name, story, tables, columns, steps, calls, one.read, one.change, other.change)


def _may_be_one_row(one: Access, other: Access) -> bool:
    """Tell whether two changes can be of the same row: then the second has overtaken, and not missed, the first."""
    return "insert" not in (one.verb, other.verb) and one.meets(other)


def _read_twice(
    stale: Sequence[Stale], accesses: Sequence[Access], differences: Sequence[Difference]
) -> Iterator[Finding]:
    """The same read with two results, or two reads that straddle a change of both."""
    for each in stale:
        read, change = each.read, each.change
        for again in each.later:
            if again.writes or again.in_vain or again.seen <= change.visible:
                continue
            before = f"{call_name(read.call)} read {told_read(each)} before {told_change(each)}"
            if (again.text, again.where) == (read.text, read.where) and again.table == read.table:
                if again.rows == read.rows:
                    continue
                steady = len(again.rows) == len(read.rows) and not aggregated(read)
                name = "non-repeatable read" if steady else "phantom"
                story = f"{before} and {told_rows(again, change, altered(each))} after it"
            elif (twin := _twin(change, again, accesses)) is not None:
                name = "read skew"
                what = f"{call_name(twin.call)}'s {twin.verb} of {named_place(twin) or twin.table}"
                columns = [c for c in altered(each) if c in only(twin.written)] or altered(Stale(again, twin, ()))
                story = f"{before}, but {told_rows(again, twin, columns)} after {what}"
            else:
                continue
            steps = (read.step, change.step, again.step)
            tables, columns = (read.table, again.table), altered(each)
            manner: Manner = "counted" if name == "phantom" else ""
            yield Finding(name, story, tables, columns, steps, (read.call,), read, change, again, manner)


def _read_back(
    stale: Sequence[Stale], accesses: Sequence[Access], differences: Sequence[Difference]
) -> Iterator[Finding]:
    """Written, written by another, and only then read back."""
    for write in accesses:
        if not write.writes or write.verb != "update":
            continue
        for change in accesses:
            between = change.call != write.call and change.verb == "update" and change.writes and change.meets(write)
            if not between or not write.visible < change.visible < NEVER:
                continue
            for again in accesses:
                if again.call != write.call or again.verb != "select" or again.in_vain or again.step < change.visible:
                    continue
                each = Stale(again, change, ())
                columns = [c for c in only(write.written) if c in only(change.written) and c in each.row]
                if each.is_of_row and columns and again.step > write.step:
                    who = call_name(write.call)
                    theirs, ours = told_values(change, columns), told_values(write, columns)
                    saw = told_rows(again, change, columns)
                    story = (
                        f"{who} updated {named_place(write)} to {ours}, and {call_name(change.call)} to {theirs}, "
                        f"before {who} read back {saw}"
                    )
                    steps, tables = (write.step, change.step, again.step), (write.table,)
                    yield Finding(
                        "non-repeatable read",
                        story,
                        tables,
                        tuple(columns),
                        steps,
                        (write.call,),
                        again,
                        change,
                        write,
                        "read back",
                    )
                break


def _twin(change: Access, again: Access, accesses: Sequence[Access]) -> Access | None:
    """Another write of the changing call, which the second read did see."""
    for write in accesses:
        seen = write.writes and write.call == change.call and write.visible < again.seen
        if seen and write is not change and write.table == again.table and _concerns(write, again):
            return write
    return None


def _decided(
    stale: Sequence[Stale], accesses: Sequence[Access], differences: Sequence[Difference]
) -> Iterator[Finding]:
    """Wrote something after reading what was then changed."""
    for each in stale:
        read, change = each.read, each.change
        writes = [a for a in each.later if (a.writes or a.in_vain) and a.done > change.done]
        if not writes or _read_again(each) is not None:
            continue
        write = writes[0]
        manner: Manner = ""
        looked_for = each.is_of_row or looks_for_any(read)
        name = "phantom" if change.verb == "insert" or (change.verb == "delete" and not looked_for) else "stale read"
        if "get" in (read.verb, change.verb):
            name = "stale cache"
        if change.verb == "delete" and looked_for:
            manner = "used up"
        before = f"{call_name(read.call)} read {told_read(each)} before {told_change(each)}"
        if write.in_vain:
            verb = {"delete": "deleting it", "update": "updating it"}.get(_verb(write), "writing it")
            story = f"{before}; {verb} afterwards found no row"
        else:
            story = f"{before}, and went on to {told_write(write)} as if it were still so"
        steps = (read.step, change.step, write.step)
        columns = altered(each)
        after = tuple(a.table for a in each.writes)
        yield Finding(name, story, (read.table,), columns, steps, (read.call,), read, change, write, manner, (), after)


def _not_committed(
    stale: Sequence[Stale], accesses: Sequence[Access], differences: Sequence[Difference]
) -> Iterator[Finding]:
    """Looked for by its key, which somebody had told before it was committed."""
    for each in stale:
        read, change = each.read, each.change
        told = change.verb == "insert" and change.done < read.step and not read.rows and read.verb == "select"
        made = [row for row in (*change.rows, *change.written) if read.where and read.touches(row)]
        known = any(column in row for row in made for column in read.where)
        if told and known and not each.writes:
            what = told_rows(read, change, ()).removeprefix("no row of ")
            who, other = call_name(read.call), call_name(change.call)
            story = f"{who} looked for {what}, which {other} had inserted and not committed yet"
            steps, tables = (change.step, read.step), (read.table,)
            yield Finding("stale read", story, tables, (), steps, (read.call,), read, change, read, "not committed")


def _verb(access: Access) -> str:
    return access.text.lstrip("( ").partition(" ")[0].lower()


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
    _not_committed,
)
