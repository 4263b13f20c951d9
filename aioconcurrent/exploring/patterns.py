"""Patterns of reading and writing by which races are known."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from .accesses import NEVER, Access, Computed
from .differences import ABSENT, Difference, show
from .stories import Stale, aggregated, altered, named, only, told_change, told_read, told_rows, told_values, told_write
from .trace import call_name


@dataclass(frozen=True, slots=True)
class Finding:
    """A pattern found in a run.

    Attributes:
        name: Of the anomaly.
        story: What happened, without its result and without a full stop.
        tables: That it is about.
        columns: That it is about, the most telling first.
        steps: That it is about.
        reader: The call that acted on what was no longer so.
    """

    name: str
    story: str
    tables: tuple[str, ...]
    columns: tuple[str, ...]
    steps: tuple[int, ...]
    reader: int


def find(accesses: Sequence[Access], differences: Sequence[Difference]) -> Finding | None:
    """Return the pattern that explains the differences best; of equals the more specific one."""
    stale = list(_stale(accesses))
    found = [finding for pattern in _PATTERNS for finding in pattern(stale, accesses)]
    best = max(found, key=lambda finding: _fit(finding, differences), default=None)
    if best is None or best.name != "stale read":
        return best
    # what was decided on may be wrong for having been overwritten
    return next((each for each in found if each.name == "lost update" and each.steps[:2] == best.steps[:2]), best)


def _fit(finding: Finding, differences: Sequence[Difference]) -> int:
    """Count how much of the differences a finding speaks of."""
    fit = 0
    for difference in differences:
        if difference.place == "outcome":
            fit += difference.call == finding.reader
        elif difference.table.lower() in finding.tables:
            fit += 2 if difference.name in finding.columns or difference.name == "" else 1
    return fit


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


_Pattern = Callable[[Sequence[Stale], Sequence[Access]], Iterator[Finding]]


def _dirty_cache(stale: Sequence[Stale], accesses: Sequence[Access]) -> Iterator[Finding]:
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
        yield Finding("dirty-cache read", story, (read.table, written.table), (read.table,), steps, read.call)


def _cached(accesses: Sequence[Access], read: Access) -> set[str]:
    """The keys that the reader looked for in the cache before it read the table."""
    return {each.table for each in accesses if each.verb == "get" and each.call == read.call and each.step < read.step}


def _lost_update(stale: Sequence[Stale], accesses: Sequence[Access]) -> Iterator[Finding]:
    """Read, changed by another, and written over with what was made of the value read."""
    for each in stale:
        read, change = each.read, each.change
        if read.verb != "select" or change.verb not in ("update", "delete") or _read_again(each):
            continue
        for write in each.writes:
            over = write.verb == "update" and write.done > change.done and write.meets(change)
            columns = _overwritten(each, write) if over else []
            if columns:
                story = (
                    f"{call_name(read.call)} read {told_read(each, columns)} before {told_change(each, columns)} "
                    f"and wrote {told_values(write, columns)} over it"
                )
                steps = (read.step, change.step, write.step)
                yield Finding("lost update", story, (read.table,), tuple(columns), steps, read.call)
                break


def _read_again(each: Stale) -> bool:
    """Tell whether the reader looked at the row once more after the change, before it wrote."""
    first = min((write.step for write in each.writes), default=0)
    return any(
        again.verb == "select"
        and each.change.visible < again.step < first
        and again.meets(each.read)
        and again.rows != each.read.rows
        for again in each.later
    )


def _overwritten(each: Stale, write: Access) -> list[str]:
    """The columns that the change altered and the reader then wrote by a plain value."""
    ours, theirs = only(write.written), only(each.change.written)
    columns = [c for c in ours if c in theirs and not isinstance(ours[c], Computed)]
    return [c for c in columns if not each.row or each.row.get(c, ABSENT) != theirs[c]]


def _double_insert(stale: Sequence[Stale], accesses: Sequence[Access]) -> Iterator[Finding]:
    """Looked for, not found, and inserted by both."""
    for each in stale:
        read, change = each.read, each.change
        if read.verb != "select" or change.verb != "insert":
            continue
        for write in each.later:
            if write.verb != "insert" or write.table != read.table or write.done < change.done:
                continue
            theirs, ours = only(change.written), only(write.written)
            columns = [c for c in ours if c in theirs and ours[c] == theirs[c] and (c in read.where or _counts(read))]
            if not columns or any(ours.get(c) != theirs.get(c) for c in read.where if c in ours):
                continue
            looked = ", ".join(f"{c}={show(ours[c])}" for c in columns if c in read.where)
            if looked and aggregated(read) and ours != theirs:  # how many there are was asked, not whether this one is
                continue
            saw = f"found no {read.table} with {looked}" if looked else f"read {told_read(each)} from {read.table}"
            what = "it" if looked else show({c: ours[c] for c in columns})
            story = (
                f"{call_name(read.call)} {saw} before {call_name(change.call)} inserted {what}, "
                f"and {'tried to insert' if write.failed else 'inserted'} {'one' if looked else 'the same'} as well"
            )
            steps = (read.step, change.step, write.step)
            yield Finding("double insert", story, (read.table,), tuple(columns), steps, read.call)


def _counts(read: Access) -> bool:
    return aggregated(read) or len(read.rows) <= 1


def _stale_snapshot(stale: Sequence[Stale], accesses: Sequence[Access]) -> Iterator[Finding]:
    """One statement that read before it waited and wrote after."""
    for write in accesses:
        if not write.writes or write.done <= write.step:
            continue
        inner = [a for a in accesses if a.step == write.step and not a.writes]
        for change in accesses:
            touched = [a for a in inner if a.table == change.table and change.writes and change.call != write.call]
            if touched and write.step < change.visible < write.done:
                story = (
                    f"{call_name(write.call)} read {change.table} for its {write.verb} of {write.table} and then "
                    f"waited; what {call_name(change.call)} wrote there became visible meanwhile and is not in it"
                )
                columns = tuple(only(write.written))
                steps = (change.step, write.step)
                yield Finding("stale snapshot", story, (write.table, change.table), columns, steps, write.call)


def _write_skew(stale: Sequence[Stale], accesses: Sequence[Access]) -> Iterator[Finding]:
    """Each read what the other then changed, and each wrote elsewhere."""
    for one in stale:
        for other in stale:
            if (one.read.call, one.change.call) != (
                other.change.call,
                other.read.call,
            ) or one.read.call > other.read.call:
                continue
            if one.change not in other.writes or other.change not in one.writes:
                continue
            if "get" in (one.read.verb, other.read.verb):
                continue
            inserts = one.change.verb == other.change.verb == "insert"
            a, b = call_name(one.read.call), call_name(other.read.call)
            theirs = f"{b} read {told_read(other)} before {told_change(other)}"
            story = (
                f"{a} read {told_read(one)} before {told_change(one)}, and {theirs}: each decided on what then changed"
            )
            steps = (one.read.step, other.read.step, one.change.step, other.change.step)
            columns = (*only(one.change.written), *only(other.change.written))
            tables = (one.read.table, other.read.table)
            yield Finding("phantom" if inserts else "write skew", story, tables, columns, steps, one.read.call)


def _read_twice(stale: Sequence[Stale], accesses: Sequence[Access]) -> Iterator[Finding]:
    """The same read with two results, or two reads that straddle a change of both."""
    for each in stale:
        read, change = each.read, each.change
        for again in each.later:
            if again.writes or again.seen <= change.visible:
                continue
            before = f"{call_name(read.call)} read {told_read(each)} before {told_change(each)}"
            if (again.text, again.where) == (read.text, read.where) and again.table == read.table:
                if again.rows == read.rows:
                    continue
                steady = len(again.rows) == len(read.rows) and not aggregated(read)
                name = "non-repeatable read" if steady else "phantom"
                story = f"{before} and {told_rows(again, change, altered(each))} after it"
            elif (twin := _twin(change, again, accesses)) is not None:
                name = "non-repeatable read"
                what = f"{call_name(twin.call)}'s {twin.verb} of {again.table}"
                story = f"{before}, but {told_rows(again, twin, altered(each))} after {what}"
            else:
                continue
            steps = (read.step, change.step, again.step)
            yield Finding(name, story, (read.table, again.table), tuple(only(change.written)), steps, read.call)


def _twin(change: Access, again: Access, accesses: Sequence[Access]) -> Access | None:
    """Another write of the changing call, which the second read did see."""
    for write in accesses:
        seen = write.writes and write.call == change.call and write.visible < again.seen
        if seen and write is not change and write.table == again.table and _concerns(write, again):
            return write
    return None


def _decided(stale: Sequence[Stale], accesses: Sequence[Access]) -> Iterator[Finding]:
    """Wrote something after reading what was then changed."""
    for each in stale:
        read, change = each.read, each.change
        writes = [write for write in each.writes if write.done > change.done]
        if not writes or _read_again(each):
            continue
        name = "phantom" if change.verb in ("insert", "delete") else "stale read"
        if "get" in (read.verb, change.verb):
            name = "dirty-cache read"
        story = (
            f"{call_name(read.call)} read {told_read(each)} before {told_change(each)}, and went on to "
            f"{told_write(writes[0])} as if it were still so"
        )
        steps = (read.step, change.step, writes[0].step)
        columns = tuple(only(change.written))
        tables = (read.table, *(write.table for write in writes))
        yield Finding(name, story, tables, columns, steps, read.call)


# The more specific before the more general: of two that fit equally well the first is taken.
_PATTERNS: tuple[_Pattern, ...] = (
    _dirty_cache,
    _lost_update,
    _double_insert,
    _stale_snapshot,
    _write_skew,
    _read_twice,
    _decided,
)
