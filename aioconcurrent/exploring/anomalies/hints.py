"""Hints: the code that fixes a race, for each pattern by which it was recognised."""

import re
from collections.abc import Sequence
from decimal import Decimal

from ...base.trace import Operation
from ...sql.statements import Computed
from ..judging.evidence import Difference
from ..judging.values import ABSENT, as_number, as_time, show
from .outdated import aggregated, only
from .patterns import Match
from .stories import row_told

_LONGEST_CONDITION = 30  # characters of a value that a hint compares with
_REFUSAL = "If the error is a correct refusal, name it in refusals=(...)."
_EXISTS = (
    "Use get_or_create(), or catch the IntegrityError around an atomic() block of its own and read the row that the "
    f"other call made. {_REFUSAL}"
)
_NEVER_SEEN = (
    "Call get_or_create() outside of atomic(), or repeat the whole transaction, from before atomic(), when it fails "
    f"so: at REPEATABLE READ it never sees the row that the other call made. {_REFUSAL}"
)
_CONFLICTS = (  # what the errors of databases say, and what helps; the first that fits is taken
    (
        r"could not serialize|SerializationFailure|Record has changed since last read",
        "The database asks for a retry: repeat the whole transaction, from before atomic(), when it fails so.",
    ),
    (
        r"(database|table)( \w+)? is locked",
        (
            'Begin transactions that will write with OPTIONS={"transaction_mode": "IMMEDIATE"}, so that they wait at '
            "their beginning, or repeat the whole transaction."
        ),
    ),
    (
        r"lock wait timeout|could not obtain lock|NOWAIT|lock timeout",
        (
            "Another call held the lock for longer than the query waits: leave out nowait=True, or catch the error and "
            f"try again. {_REFUSAL}"
        ),
    ),
    (
        r"foreign key",
        (
            "The row that is referred to went meanwhile: lock it with select_for_update() inside atomic() before the "
            f"row that refers to it is written. {_REFUSAL}"
        ),
    ),
    (
        r"check constraint|CONSTRAINT .* failed for",
        (
            "Ask for what must hold in the write itself, as in filter(pk=..., balance__gte=amount).update(...), and "
            "look at the number of rows that it returns; or catch the IntegrityError around an atomic() block of its "
            f"own. {_REFUSAL}"
        ),
    ),
    (
        r"exclusion constraint",
        f"Catch the IntegrityError around an atomic() block of its own and say that it is taken. {_REFUSAL}",
    ),
    (r"IntegrityError|UniqueViolation|UNIQUE constraint|Duplicate entry", _EXISTS),
)
_SESSION = (
    "A request saves its whole session, over what another request has put there meanwhile: keep what several requests "
    "change in a model of its own."
)
_TAKEN = f"Catch the IntegrityError around an atomic() block of its own and say that the value is taken. {_REFUSAL}"


def _keeps_snapshot(operation: Operation) -> bool:
    """Tell whether what comes after a statement of PostgreSQL sees no more than what came before it."""
    in_block = operation.in_transaction and not operation.split
    return in_block and operation.vendor == "postgresql" and operation.isolation == "repeatable read"


def conflict_hint_of(text: str, found: Match | None, failed: Sequence[Operation]) -> str:
    for said, advice in _CONFLICTS:
        if re.search(said, text, re.IGNORECASE):
            return _of_what_exists(failed) if advice is _EXISTS else advice
    if found is not None and found.manner == "not committed":
        return hint_of(found, ())
    advice = "Handle the error where it is raised. If it is a correct refusal, name it in refusals=(...)."
    is_guarded = found is None or found.manner == "used up" or found.write.in_vain  # the write has looked again
    return advice if found is None or is_guarded else f"{hint_of(found, ())} {advice}"


def _of_what_exists(failed: Sequence[Operation]) -> str:
    """What helps where a unique value was there already, by the operations that failed."""
    inserts = any(re.match(r"\W*(INSERT|REPLACE|WITH)\b", each.text, re.IGNORECASE) for each in failed)
    if failed and not inserts:
        return _TAKEN
    return _NEVER_SEEN if any(map(_keeps_snapshot, failed)) else _EXISTS


def hint_of(found: Match, differences: Sequence[Difference]) -> str:
    """Say what mends what was found."""
    if "session_data" in found.columns:
        return _SESSION
    match found.name, found.manner:
        case "lost update", "counter in a cache":
            return (
                "Count with cache.incr(), after cache.add(key, 0), and claim with cache.add(): both look and write at "
                "once. For anything else take a lock around reading and writing."
            )
        case "lost update" | "stale read", "lock too late":
            return _instance_of_lock(found)
        case (("lost update" | "stale read"), "whole row"):
            return _whole_row(found)
        case "lost update", "made meanwhile":
            return _made_meanwhile(found)
        case "lost update", _:
            return _lost_update(found, differences)
        case "stale read", "not committed":
            return (
                "Hand on what others are to look for when it is committed: transaction.on_commit(lambda: ...), or "
                "task.delay_on_commit(...) of Celery's, and not in the transaction that makes it."
            )
        case "stale read", "used up":
            return (
                "Delete first, and go on only if a row went: deleted, _ = filter(pk=...).delete(); or read the row "
                f"with {_lock(found)}."
            )
        case "stale read", "nothing looks again":
            return (
                f"Nothing that is written looks at the row again: read it with {_lock(found)}, so that nobody changes "
                "it before what rests on it is committed."
            )
        case "stale read", _:
            return _condition_in_write(found)
        case "resurrected row", _:
            return (
                f"Write what is there and nothing else: save(update_fields=[{_listed(found.own)}]), or "
                "save(force_update=True), raises DatabaseError where the row is gone, and filter(pk=...).update(...) "
                "returns 0."
            )
        case "double insert", _:
            return _double_insert(found)
        case "phantom", "counted":
            return f"Read once and keep the result{_steady_reads(found)}."
        case "phantom", _:
            return _phantom(found)
        case "write skew", _:
            return _write_skew(found)
        case "read skew", _:
            return f"Read both in one query, as filter(pk__in=[...]) does{_steady_reads(found)}."
        case "non-repeatable read", "read back":
            return (
                "Write and read back in one atomic(): a row that was updated stays locked until its end, so that "
                "nobody comes between."
            )
        case "non-repeatable read", _:
            return f"Read once and keep the value, read with {_lock(found)}{_steady_reads(found)}."
        case "intermediate read", "for a while":
            return (
                "If that is a correct answer while another call is at work, raise an exception for it and name it in "
                "refusals=(...), or say with check= what must hold."
            )
        case "intermediate read", _:
            return (
                "Make both writes in one atomic(), so that nobody sees what is between them; or write once, what is to "
                "stay."
            )
        case "write cycle", _:
            return (
                "Make the writes of each call in one atomic(), and before the first of them lock a row that all who do "
                f"this lock, with {_lock_first(found)}."
            )
        case "stale snapshot", _:
            return (
                "The statement chose what it reads before it had to wait: lock first with "
                f"{_lock_first(found)}, a row that all who do this lock, then read in a statement of its own."
            )
        case "stale cache", "in turn":
            return (
                "Put the value into the cache inside the atomic() that writes the row, after the write: the row is "
                "locked until its end, so that both come in one order; or only drop the key."
            )
    return (
        "Do not fill the cache with what was dropped meanwhile: fill it inside atomic() while the row "
        "is locked by select_for_update(), and drop the key in transaction.on_commit(); or let the writer put the new "
        "value there in transaction.on_commit(cache.set ...), and the reader fill it with cache.add()."
    )


def _vendor(found: Match) -> str:
    return found.read.vendor or found.change.vendor


def _lock(found: Match) -> str:
    """How a row is read so that nobody changes it until it is written."""
    if _vendor(found) == "sqlite":
        return 'atomic() and OPTIONS={"transaction_mode": "IMMEDIATE"} (SQLite ignores select_for_update())'
    is_let_go = found.read.locks and found.name in ("lost update", "stale read")
    return f"select_for_update() inside {'an atomic() that ends only after the write' if is_let_go else 'atomic()'}"


def _lock_first(found: Match) -> str:
    """How a row that stands for others is locked, so that they are seen as they are once it is."""
    if _vendor(found) != "postgresql" or found.read.isolation != "repeatable read":
        return _lock(found)
    return (
        f"{_lock(found)} at isolation level READ COMMITTED (at REPEATABLE READ whoever has waited for a lock still "
        "sees other rows as they were before)"
    )


def _instance_of_lock(found: Match) -> str:
    if _vendor(found) == "sqlite":
        return f"Use the instance that the second query returned, and read it with {_lock(found)}."
    return (
        "Use the instance that the locking query returned, as in row = queryset.select_for_update().get(pk=...), or "
        "refresh_from_db() after it: what was read before the lock may have changed since."
    )


def _steady_reads(found: Match) -> str:
    """How reads of one call see one state, as the end of a sentence."""
    if _vendor(found) == "sqlite":
        return ", or put the reads into one atomic()"
    return ", or run the reads in one transaction at isolation level REPEATABLE READ"


def _serializable(found: Match) -> str:
    if _vendor(found) == "sqlite":
        return ""  # which has no levels to choose from
    return ", or run at isolation level SERIALIZABLE and repeat the transaction when it fails"


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(f'"{column.removesuffix("_id")}"' for column in columns) or "..."


def _whole_row(found: Match) -> str:
    """The call wrote back what it had not changed."""
    column = found.columns[0]
    return (
        f"Write only what was changed: save(update_fields=[{_listed(found.own)}]), or filter(pk=...).update(...); a "
        f"plain save() writes every column, {column} too, as it was read. If what it changes rests on {column}, read "
        f"the row with {_lock(found)}."
    )


def _made_meanwhile(found: Match) -> str:
    """There was no row to lock or to count in when the call looked."""
    column = found.columns[0]
    counted = as_number(only(found.write.written).get(column)) is not None
    change = f"let the database compute the value, as in filter(pk=...).update({column}=F({column!r}) + ...), or "
    return f"Make the row first, with get_or_create(), and then {change if counted else ''}read it with {_lock(found)}."


def _lost_update(found: Match, differences: Sequence[Difference]) -> str:
    column, value = found.columns[0], only(found.write.written).get(found.columns[0])
    row = found.stale.row
    is_empty = row.get(column, ...) is None
    before, after = Decimal(0) if is_empty else as_number(row.get(column)), as_number(value)
    counted = not isinstance(value, bool) and not column.endswith("_id")
    is_decided = _is_decided(found, differences)
    adds_up = counted and before is not None and _adds_up(found, before, differences)
    if before is None or after is None or not adds_up or (is_empty and is_decided):
        return _condition_in_write(found)
    change = after - before
    old = f"Coalesce(F({column!r}), 0)" if is_empty else f"F({column!r})"
    step = f"{column}={old} {'-' if change < 0 else '+'} {_plain(abs(change))}"
    keeps = f"; save(update_fields=[{_listed(found.own)}]) keeps the other columns out of it" if found.own[1:] else ""
    if not is_decided:
        return (
            f"Let the database compute the value, as in filter(pk=...).update({step}), or read the row with "
            f"{_lock(found)}{keeps}."
        )
    allowed = f"{column}__gte={_plain(-change)}" if change < 0 else f"{column}={_plain(before)}"
    return (
        f"Put what was checked into the write, and let the database compute the value: filter(pk=..., {allowed})"
        f".update({step}), and look at the number of rows that it returns; or read the row with {_lock(found)}."
    )


def _adds_up(found: Match, before: Decimal, differences: Sequence[Difference]) -> bool:
    """Tell whether the value that a serial order leaves has the other's change in it, as a sum has, if it is told."""
    if found.manner == "worked out of others":
        return True
    column = found.columns[0]
    theirs = as_number(only(found.change.written).get(column))
    ends = [
        (expected, as_number(each.found))
        for each in differences
        if each.place == "row" and each.table.lower() == found.read.table and each.name == column
        if (expected := as_number(each.expected)) is not None
    ]
    lost = [expected - ended for expected, ended in ends if ended is not None]
    if theirs is None or theirs == before or not lost:
        return column in found.stale.row and found.stale.row[column] is not None
    return any(each % (theirs - before) == 0 for each in lost)


def _is_decided(found: Match, differences: Sequence[Difference]) -> bool:
    """Tell whether more hangs on what was read than the value that is written: a refusal, or other rows."""
    written = [as_number(value) for value in only(found.write.written).values()]
    for each in differences:
        if each.place == "row" and each.table.lower() == found.read.table and each.name in found.columns:
            continue
        if each.place == "outcome" and as_number(each.found) in written and not isinstance(each.found, bool):
            continue  # it returns what it has written
        if each.place == "row" and each.found is not ABSENT and each.expected is not ABSENT and each.name:
            continue  # another value, and not another row
        return True
    return False


def _plain(number: Decimal) -> str:
    return format(number.normalize(), "f")


def _condition_in_write(found: Match) -> str:
    """The call acted on what it had read of a row: the write itself is to look again."""
    row = found.stale.row
    column = next((c for c in found.columns if c in row), found.columns[0] if found.columns else "field")
    write = only(found.write.written) if found.write.table == found.read.table else {}
    new = write.get(column, only(found.change.written).get(column, ...))
    if aggregated(found.read):
        return _write_skew(found)
    if column not in row or not _can_be_compared(row[column]):
        return (
            f"Read the row with {_lock(found)}, and write it in the same transaction; or keep a version in it, and put "
            "the version that was read into the filter of the update()."
        )
    if isinstance(new, Computed) and (change := _stepped(new)):
        sign, amount = change
        allowed = f"{column}__gte={amount}" if sign == "-" else f"{column}={show(row[column])}"
        new_text = f"F({column!r}) {sign} {amount}"
    else:
        allowed = f"{column}__isnull=True" if row[column] is None else f"{column}={show(row[column])}"
        is_told = _can_be_compared(new) and new is not ... and not column.endswith("_id")
        new_text = show(new) if is_told else "..."
    return (
        f"Put the condition into the write, as in filter(pk=..., {allowed}).update({column}={new_text}), before "
        "anything else is done, and go on only if the number of rows that it returns is 1 (else look again); or read "
        f"the row with {_lock(found)}."
    )


def _stepped(value: Computed) -> tuple[str, str] | None:
    """The sign and the amount of `column - 80`."""
    words = value.text.strip("()").rsplit(" ", 2)
    return (words[1], words[2]) if len(words) == 3 and words[1] in "+-" and as_number(words[2]) is not None else None


def _can_be_compared(value: object) -> bool:
    """Tell whether a filter with this value is one that people write."""
    if as_time(value) is not None or isinstance(value, Computed | bytes):
        return False
    return len(show(value)) <= _LONGEST_CONDITION and not str(value).startswith(("{", "[", "Json", "****"))


def _double_insert(found: Match) -> str:
    columns = ", ".join(found.columns)
    if found.manner == "number of a row":
        return (
            f"Declare a UniqueConstraint on {columns} and try again with the next number on IntegrityError; or lock a "
            f"row that all who take a number lock, with {_lock_first(found)}."
        )
    empty = [column for column in found.columns if None in found.read.where.get(column, ())]
    if not empty:
        return f"Declare a UniqueConstraint on {columns} and use get_or_create(), or catch the IntegrityError."
    rest = ", ".join(column for column in found.columns if column not in empty) or columns
    nulls = "nulls_distinct=False" if _vendor(found) == "postgresql" else f"condition=Q({empty[0]}__isnull=True)"
    told = columns if _vendor(found) == "postgresql" else rest
    return (
        f"NULL is unequal to NULL: declare a UniqueConstraint on {told} with {nulls}, and use get_or_create(), or "
        "catch the IntegrityError."
    )


def _phantom(found: Match) -> str:
    if _vendor(found) == "sqlite":
        return (
            f"Rows that are not there yet cannot be locked: look and write in one transaction, with {_lock(found)}; or "
            "declare a constraint that says what must hold."
        )
    parents = (
        f"{column}={show(next(iter(allowed)))}"
        for column, allowed in found.read.where.items()
        if column.endswith("_id") and len(allowed) == 1 and None not in allowed
    )
    parent = next(parents, "") or row_told(found.stale)
    which = f"the row that they belong to ({parent})" if parent else "a row that stands for them all"
    return (
        f"Rows that are not there yet cannot be locked: lock {which} with {_lock_first(found)}, before looking; or "
        f"declare a constraint that says what must hold{_serializable(found)}."
    )


def _write_skew(found: Match) -> str:
    if found.name == "write skew" and "insert" in (found.change.verb, found.write.verb):
        return _phantom(found)
    if _vendor(found) != "sqlite" and aggregated(found.read):
        return (
            "Lock the rows that the decision rests on, and look at what is there then: list(queryset"
            f".select_for_update()) inside atomic(), in place of count() or exists(){_serializable(found)}."
        )
    return f"Read what the decision rests on with {_lock(found)}{_serializable(found)}."
