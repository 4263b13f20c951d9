"""Lanes: a run as a picture, one column per call and one row per step, in the order they were let go.

`lanes` makes the rows, `as_text` lays them out as plain text; other renderings
start from the same rows.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from textwrap import wrap
from typing import Any, Literal, NamedTuple

from .._text import text_of
from .._trace import Endless, Run, Step, call_name
from ..databases.sources import lines_of
from ..exceptions import WrappedError
from ..sql.accesses import Computed, accesses, asks_whether
from .sql import keep, literal, operation_text
from .values import printable, shown

__all__ = ["LaneRow", "Lanes", "Line", "Piece", "as_text", "lanes", "layout"]


@dataclass(frozen=True, slots=True)
class LaneRow:
    """Something that one call did.

    Attributes:
        call: Which call, counted from 0.
        kind: Whether it let a step go, went on after waiting, did the same many more times, or ended.
        number: Of the step, counted from 1; None for what is no step of its own.
        action: What it did: SQL, COMMIT, "returns 3".
        results: What came of it, a line each: "-> balance=100", "waits for A".
        source: The application's line, where it is another than in the call's row before.
        marked: Whether the explanation is about this step.
        steps: The indexes of the steps that it tells of.
        raised_at: The application's last lines of what it raised, the innermost last.
        when: What stands before it in place of the number: the milliseconds of a recorded race.
    """

    call: int
    kind: Literal["step", "resumed", "repeated", "ended"]
    number: int | None
    action: str
    results: tuple[str, ...] = ()
    source: str = ""
    marked: bool = False
    steps: range = range(0)
    raised_at: tuple[str, ...] = ()
    when: str = ""

    @property
    def label(self) -> str:
        """What stands before it."""
        return self.when or ("" if self.number is None else str(self.number))


class Piece(NamedTuple):
    """A part of a line: what it says, what that is, and which call's it is."""

    text: str
    role: Literal["number", "frame", "head", "source", "action", "result", "ended"] = "frame"
    call: int | None = None
    marked: bool = False


Line = list[Piece]


@dataclass(frozen=True)
class Lanes:
    """The picture of one run: the text of each call, and what happened."""

    heads: tuple[str, ...]
    rows: tuple[LaneRow, ...]


_ROWS_SHOWN = 3
_LONGEST_LOOP = 4  # statements in a loop that is told once
_NARROWEST_LANE = 32
_LONGEST_OUTCOME = 200


def lanes(run: Run, calls: Sequence[str], marked: Collection[int] = ()) -> Lanes:
    """Draw a run.

    Args:
        run: What the calls did.
        calls: The text of each call, as "withdraw(account_id=1, amount=80)".
        marked: The indexes of the steps that matter most.
    """
    rows: list[LaneRow] = []
    sources: dict[int, str | None] = {}
    for row in Drawing(run, marked).rows():
        fresh = row.source and sources.get(row.call) != row.source
        rows.append(row if fresh else replace(row, source=""))
        if row.source:
            sources[row.call] = row.source
    heads = tuple(f"{call_name(call)}: {text}" for call, text in enumerate(calls))
    return Lanes(heads, tuple(rows))


class Drawing:
    """One walk over the steps of a run."""

    def __init__(self, run: Run, marked: Collection[int]) -> None:
        self._run = run
        self._steps = run.steps
        self._marked = marked
        self._telling = _telling_columns(run.steps)
        self._resumed: dict[int, list[int]] = {}
        for index, step in enumerate(self._steps):
            if step.resumed_after is not None:
                self._resumed.setdefault(step.resumed_after, []).append(index)
        self._last = {
            step.call: max(index, step.resumed_after if step.resumed_after is not None else index)
            for index, step in enumerate(self._steps)
        }

    def rows(self) -> Iterator[LaneRow]:
        index = 0
        while index < len(self._steps):
            length, times = self._loop(index)
            for each in range(index, index + length):
                yield from self._at(each)
            index += length * times
            if times > 1:
                yield self._repeated(index, length, times - 1)
        for call, outcome in enumerate(self._run.outcomes):
            if call not in self._last:
                yield ended(call, outcome)

    def _at(self, index: int) -> Iterator[LaneRow]:
        """What happens in one step: its statement, then those that it sets free; a call may end with each."""
        yield self._row(index)
        yield from self._end(index, index)
        for waiter in self._resumed.get(index, ()):
            results = tuple(self.results(self._steps[waiter]))
            told = f"(step {waiter + 1} goes on)"
            yield LaneRow(self._steps[waiter].call, "resumed", None, told, results, steps=range(waiter, waiter + 1))
            yield from self._end(waiter, index)

    def _end(self, step: int, now: int) -> Iterator[LaneRow]:
        call = self._steps[step].call
        if self._last[call] == now:
            yield ended(call, self._run.outcomes[call])

    def _row(self, index: int) -> LaneRow:
        step = self._steps[index]
        results: tuple[str, ...] = tuple(self.results(step)) if step.resumed_after is None else ()
        if step.waited_for:
            results = (f"waits for {' and '.join(call_name(call) for call in sorted(step.waited_for))}", *results)
        text = self.action(step)
        marked, steps = index in self._marked, range(index, index + 1)
        return LaneRow(step.call, "step", index + 1, text, results, step.source or "", marked, steps)

    def _repeated(self, end: int, length: int, times: int) -> LaneRow:
        what = "the same" if length == 1 else f"the same {length} steps"
        how = "once more" if times == 1 else f"{times} more times"
        told = f"({what} {how}, up to step {end})"
        return LaneRow(self._steps[end - 1].call, "repeated", None, told, steps=range(end - length * times, end))

    def _loop(self, start: int) -> tuple[int, int]:
        """How many steps from `start` on are done how many times in a row, with nothing to tell of but the first."""
        best = (1, 1)
        for length in range(1, _LONGEST_LOOP + 1):
            first = [self._shape(index) for index in range(start, start + length)]
            if None in first:
                break
            times = 1
            while [self._shape(start + times * length + offset) for offset in range(length)] == first:
                times += 1
            if times > 2 and length * times > best[0] * best[1]:
                best = (length, times)
        return best

    def _shape(self, index: int) -> object:
        """What makes steps alike; None for one that must be told."""
        if index >= len(self._steps):
            return None
        step = self._steps[index]
        eventful = step.error or step.waited_for or index in self._marked or index in self._resumed
        if eventful or self._last[step.call] == index:
            return None
        return step.call, step.operation.kind, step.operation.text, step.source

    def action(self, step: Step) -> str:
        """What a step did, in a line."""
        if step.operation.kind == "cache" and step.rows and step.operation.text in _STORING:
            return _stored(step)
        return operation_text(step.operation, self._telling)

    def results(self, step: Step) -> Iterator[str]:
        """What came of a step, a line each."""
        if step.error is not None:
            yield f"raises {step.error}"
        elif step.operation.kind == "cache":
            yield from _found(step)
        elif step.columns:
            yield from self._result_rows(step)
        elif step.rowcount is not None and step.rowcount >= 0 and _counts_rows(step):
            yield f"-> {_rows(step.rowcount)}"

    def _result_rows(self, step: Step) -> Iterator[str]:
        if step.columns == ("a",) and asks_whether(step.operation.text):
            yield "-> a row" if step.rows else "-> no row"
            return
        if not step.rows:
            yield "-> no row"
        for row in step.rows[:_ROWS_SHOWN]:
            cells = [f"{name.strip('_')}={literal(value)}" for name, value in zip(step.columns, row, strict=False)]
            yield f"-> {', '.join(keep(cells, step.columns, self._telling))}"
        total = max(len(step.rows), step.rowcount or 0)
        if total > _ROWS_SHOWN:
            yield f"-> {_rows(total - _ROWS_SHOWN, 'more ')}"


_STORING = ("set", "set_many", "add")
_ANSWERING = ("add", "touch", "delete")


def _stored(step: Step) -> str:
    """A cache operation with the values that it stores."""
    keys, values = step.operation.parameters or (), step.rows[0]
    if step.operation.text == "set_many":
        pairs = ", ".join(f"{key!r}: {value!r}" for key, value in zip(keys, values, strict=False))
        return f"cache.set_many({{{pairs}}})"
    return f"cache.{step.operation.text}({', '.join(map(repr, (*keys, *values)))})"


def _found(step: Step) -> Iterator[str]:
    """What came of a cache operation."""
    if step.operation.text in _ANSWERING:
        if step.rowcount is not None:
            yield f"-> {step.rowcount > 0}"
    elif step.operation.text == "get" and step.rowcount == 0:
        yield "-> nothing"
    elif step.rows and step.operation.text not in _STORING:
        yield f"-> {', '.join(map(repr, step.rows[0]))}"


def _counts_rows(step: Step) -> bool:
    return step.operation.text.lstrip("( ").upper().startswith(("UPDATE", "DELETE", "INSERT", "WITH"))


def _rows(count: int, more: str = "") -> str:
    return f"{count or 'no'} {more}{'row' if count <= 1 else 'rows'}"


def ended(call: int, outcome: Any) -> LaneRow:
    """How a call ended."""
    error = outcome.error if isinstance(outcome, WrappedError) else outcome
    lines_of_code: tuple[str, ...] = ()
    if isinstance(outcome, Endless):
        text = "never ends"
    elif isinstance(error, BaseException):
        lines = text_of(error).strip().splitlines()
        text = f"raises {type(error).__name__}" + (f": {lines[0]}" if lines else "")
        lines_of_code = tuple(lines_of(error))
    else:
        text = f"returns {shown(outcome)}"
    return LaneRow(call, "ended", None, _cut(text, _LONGEST_OUTCOME), raised_at=lines_of_code)


def _telling_columns(steps: Sequence[Step]) -> frozenset[str]:
    """The columns to show where there are many: by which rows were found, and those that some write changed."""
    seen: dict[tuple[str, str], set[object]] = {}
    telling: set[str] = set()
    found = accesses(steps)
    for access in found:
        telling |= access.where.keys()
        for row in access.rows:
            for column, value in row.items():
                seen.setdefault((access.table, column), set()).add(repr(value))
    for access in found:
        for column, value in access.written[0].items() if access.verb == "update" and access.written else ():
            before = seen.get((access.table, column))
            if isinstance(value, Computed) or before is None or repr(value) not in before or len(before) > 1:
                telling.add(column)
    return frozenset(telling)


def as_text(picture: Lanes, width: int = 100) -> str:
    """Lay lanes out as text: side by side if each gets enough of the width, else one below the other."""
    return "\n".join("".join(piece.text for piece in line).rstrip() for line in layout(picture, width))


def layout(picture: Lanes, width: int) -> Iterator[Line]:
    """Lay lanes out in lines of pieces, for whoever gives them colours."""
    gutter = max((len(row.label) for row in picture.rows), default=0) + 2
    count = max(len(picture.heads), 1)
    lane = (width - gutter) // count - 3
    if lane >= _NARROWEST_LANE:
        yield from _side_by_side(picture, gutter, lane)
    else:
        yield from _in_one(picture, gutter, width)


def _side_by_side(picture: Lanes, gutter: int, lane: int) -> Iterator[Line]:
    count = len(picture.heads)
    heads = [_wrapped(head, lane) for head in picture.heads]
    for index in range(max(map(len, heads), default=0)):
        cells = (head[index] if index < len(head) else "" for head in heads)
        yield [Piece(" " * gutter), *_columns([Piece(cell, "head", call) for call, cell in enumerate(cells)], lane)]
    yield [Piece("─" * gutter + "".join("─┼─" + "─" * lane for _ in heads))]
    for row in picture.rows:
        for index, piece in enumerate(_cell(row, lane)):
            cells_of_row = [piece if call == row.call else Piece("") for call in range(count)]
            yield [_lead(row, gutter, index), *_columns(cells_of_row, lane)]


def _columns(cells: Sequence[Piece], lane: int) -> Iterator[Piece]:
    for cell in cells:
        yield Piece(" │ ")
        yield cell._replace(text=f"{cell.text:{lane}}")


def _in_one(picture: Lanes, gutter: int, width: int) -> Iterator[Line]:
    name = max((len(call_name(call)) for call in range(len(picture.heads))), default=1)
    room = max(width - gutter - name - 3, 20)
    for call, head in enumerate(picture.heads):
        first, *rest = _wrapped(head, width)
        yield [Piece(first, "head", call)]
        yield from ([Piece(f"{' ' * (name + 2)}{line}", "head", call)] for line in rest)
    yield [Piece("─" * width)]
    for row in picture.rows:
        for index, piece in enumerate(_cell(row, room)):
            letter = Piece(f" {call_name(row.call):>{name}}", "head", row.call)
            yield [_lead(row, gutter, index), letter, Piece("│ "), piece]


def _lead(row: LaneRow, gutter: int, line: int) -> Piece:
    if line:
        return Piece(" " * gutter)
    return Piece(f"{'>' if row.marked else ' '}{row.label:>{gutter - 1}}", "number", None, row.marked)


def _cell(row: LaneRow, width: int) -> Iterator[Piece]:
    """The application's line, then what it made the database do, then what came of that."""
    if row.source:
        yield from (Piece(line, "source", row.call, row.marked) for line in _source(row.source, width))
    if row.kind == "ended":
        yield from (Piece(line, "ended", row.call) for line in _wrapped(row.action, width))
        for source in row.raised_at:
            yield from (Piece(f"  {line}", "source", row.call) for line in _source(source, width - 2))
        return
    for line in _wrapped(row.action, width - 2):
        yield Piece(f"  {line}", "action", row.call, row.marked)
    for result in row.results:
        yield from (Piece(f"  {line}", "result", row.call, row.marked) for line in _wrapped(result, width - 2))


_CLAUSES = (" FROM ", " WHERE ", " SET ", " VALUES ", " ORDER BY ", " RETURNING ", " LIMIT ", " FOR UPDATE")


def _wrapped(text: str, width: int) -> list[str]:
    """Break a text into lines, before the clauses of SQL where there are some."""
    text = printable(text)
    if len(text) <= width:
        return [text]
    marked = text
    for clause in _CLAUSES:
        marked = marked.replace(clause, f"\n{clause[1:]}")
    lines: list[str] = []
    for part in marked.split("\n"):
        if lines and len(lines[-1]) + 1 + len(part) <= width:
            lines[-1] += f" {part}"
        else:
            lead = "  " if lines else ""
            lines += wrap(part, width, initial_indent=lead, subsequent_indent=f"{lead}  ", break_on_hyphens=False)
    return lines


def _source(source: str, width: int) -> list[str]:
    """The file without its folders, and the code; on two lines where one does not hold them."""
    place, _, code = printable(source).partition(": ")
    file = place.partition(" in ")[0].replace("\\", "/").rsplit("/", 1)[-1]
    if len(f"{file}  {code}") <= width:
        return [f"{file}  {code}".rstrip()]
    return [_cut(file, width), _cut(f"  {code}", width)]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
