"""Lanes: a run as a picture, one column per call and one row per step.

`lanes` makes the rows in the order in which steps were let go, `timed_lanes` those of a
recorded race in the order of time; `as_text` lays them out as text for a terminal, and the
page starts from the same rows.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal, NamedTuple

from rich.cells import cell_len

from .._text import error_named, printable, shown
from ..base.sources import lines_of, place_of
from ..base.trace import Endless, Run, Step, call_name, call_names
from ..exceptions import error_of
from ..sql.accesses import accesses, asks_whether
from ..sql.statements import Computed
from .sql import keep, literal, operation_text
from .terminal import Paper, Style, broken, cut


@dataclass(frozen=True, slots=True)
class LaneRow:
    """Something that one call did.

    Attributes:
        call: Which call, counted from 0.
        kind: Whether it let a step go, went on after waiting, did the same many more times, ended, or did what
            is told in a word.
        number: Of the step, counted from 1; None for what is no step of its own.
        action: What it did: SQL, COMMIT, "returns 3".
        results: What came of it, a line each: "-> balance=100", "waits for A".
        source: The application's line, where it is another than in the call's row before.
        marked: Whether the explanation is about this step.
        steps: The indexes of the steps that it tells of.
        raised_at: The application's last lines of what it raised, the innermost last.
        when: What stands before it in place of the number: the milliseconds of a recorded race.
        folded: The rows in place of which it stands.
    """

    call: int
    kind: Literal["step", "resumed", "repeated", "ended", "folded"]
    number: int | None
    action: str
    results: tuple[str, ...] = ()
    source: str = ""
    marked: bool = False
    steps: range = range(0)
    raised_at: tuple[str, ...] = ()
    when: str = ""
    folded: tuple["LaneRow", ...] = ()

    @property
    def label(self) -> str:
        """What stands before it."""
        return self.when or ("" if self.number is None else str(self.number))


@dataclass(frozen=True)
class Lanes:
    """The picture of one run: the text of each call, and what happened."""

    heads: tuple[str, ...]
    rows: tuple[LaneRow, ...]


_ROWS_SHOWN = 3
_LONGEST_LOOP = 4  # statements in a loop that is told once
_NARROWEST_LANE = 32
_LONGEST_OUTCOME = 200
_WORTH_TELLING = 0.001  # seconds that a step takes
_SHORT = 12  # rows of a picture in which nothing is folded
_WORTH_FOLDING = 2  # rows


def lanes(run: Run, calls: Sequence[str], marked: Collection[int] = (), *, unfolded: bool = False) -> Lanes:
    """Draw a run; what touches nothing of other calls is folded, unless the picture is short anyway.

    Args:
        run: What the calls did.
        calls: The text of each call, as "withdraw(account_id=1, amount=80)".
        marked: The indexes of the steps that matter most.
        unfolded: Whether to fold nothing.
    """
    rows = [*_Drawing(run, marked).rows()]
    is_short = unfolded or len(rows) <= _SHORT or len(calls) < 2
    return Lanes(_heads(calls), _without_repetition(rows if is_short else _folded(rows, run, len(calls))))


def timed_lanes(run: Run, calls: Sequence[str], finished: Sequence[float | None]) -> Lanes:
    """Draw a recorded race, with the milliseconds before each row.

    Args:
        finished: When each call ended, on the clock of the steps; None if it did not by itself.
    """
    events = sorted(_Drawing(run, ()).events(finished), key=lambda event: event[0])
    begin = events[0][0] if events else 0.0
    rows = (replace(row, when=f"{(time - begin) * 1000:.2f}") for time, row in events)
    return Lanes(_heads(calls), _without_repetition(rows))


def _heads(calls: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{call_name(call)}: {text}" for call, text in enumerate(calls))


def _folded(rows: Sequence[LaneRow], run: Run, calls: int) -> Iterator[LaneRow]:
    """The rows, with one in place of neighbours in a lane that nobody else could notice."""
    begun: set[int] = set()

    def lane_to_fold(row: LaneRow) -> int | None:
        is_first = row.call not in begun
        begun.add(row.call)
        is_step = row.kind in ("step", "repeated") and not row.marked
        is_private = run.private.issuperset(row.steps) and not any(map(is_eventful, row.steps))
        return row.call if is_step and is_private and not is_first else None

    def is_eventful(index: int) -> bool:
        step = run.steps[index]
        return step.error is not None or bool(step.waited_for) or index in run.set_free

    for call, group in groupby(rows, lane_to_fold):
        together = tuple(group)
        if call is None or len(together) < _WORTH_FOLDING:
            yield from together
            continue
        steps = range(together[0].steps.start, together[-1].steps.stop)
        others = "the other call's" if calls == 2 else "the other calls'"
        told = f"... {len(steps)} steps that touch nothing of {others}"
        yield LaneRow(call, "folded", None, told, steps=steps, folded=together)


def _without_repetition(rows: Iterable[LaneRow]) -> tuple[LaneRow, ...]:
    """The rows, with the application's line only where it is another than in the call's row before, as it is shown."""
    sources: dict[int, str] = {}
    told = []
    for row in rows:
        told.append(replace(row, source="") if sources.get(row.call) == row.source else row)
        sources[row.call] = "" if row.folded else row.source or sources.get(row.call, "")
        if row.folded:
            told[-1] = replace(row, folded=_without_repetition(row.folded))
    return tuple(told)


class _Drawing:
    """One walk over the steps of a run."""

    def __init__(self, run: Run, marked: Collection[int]) -> None:
        self._run = run
        self._steps = run.steps
        self._marked = marked
        self._telling = _telling_columns(run.steps)
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

    def events(self, finished: Sequence[float | None]) -> Iterator[tuple[float, LaneRow]]:
        """The rows of a run that was recorded, each with its time."""
        for step in self._steps:
            results, action, source = tuple(self.results(step)), self.action(step), step.source or ""
            whose = f" for {call_names(step.waited_for)}" if step.waited_for else ""
            if step.waited and step.ended is not None:
                waits = (f"waits{whose or ' for a lock'}",)
                yield step.started, LaneRow(step.call, "step", None, action, waits, source)
                told = f"(waited {_milliseconds(step.waited)}{whose})"
                yield step.ended, LaneRow(step.call, "resumed", None, told, results)
            elif step.ended is None:
                waits_on = f"had waited {_milliseconds(step.waited)}{whose} and " if step.waited else ""
                told = f"{waits_on}was still under way when the call ended"
                yield step.started, LaneRow(step.call, "step", None, action, (told,), source)
            else:
                seconds = step.ended - step.started
                took = (f"took {_milliseconds(seconds)}",) if seconds >= _WORTH_TELLING else ()
                yield step.started, LaneRow(step.call, "step", None, action, (*results, *took), source)
        last = max((step.ended or step.started for step in self._steps), default=0.0)
        for call, (outcome, end) in enumerate(zip(self._run.outcomes, finished, strict=True)):
            yield last if end is None else end, ended(call, outcome)

    def _at(self, index: int) -> Iterator[LaneRow]:
        """What happens in one step: its statement, then those that it sets free; a call may end with each."""
        yield self._row(index)
        yield from self._end(index, index)
        for waiter in self._run.set_free.get(index, ()):
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
            results = (f"waits for {call_names(step.waited_for)}", *results)
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
        eventful = step.error or step.waited_for or index in self._marked or index in self._run.set_free
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


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def ended(call: int, outcome: Any) -> LaneRow:
    """How a call ended."""
    raised_at: tuple[str, ...] = ()
    if isinstance(outcome, Endless):
        text = "never ends"
    elif (error := error_of(outcome)) is not None:
        text = f"raises {error_named(error)}"
        raised_at = tuple(lines_of(error))
    else:
        text = f"returns {shown(outcome)}"
    return LaneRow(call, "ended", None, cut(text, _LONGEST_OUTCOME), raised_at=raised_at)


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


def as_text(picture: Lanes, paper: Paper) -> str:
    """Lay lanes out as text: side by side if each gets enough of the width, else one below the other."""
    gutter = max((len(row.label) for row in picture.rows), default=0) + 2
    lane = (paper.width - gutter) // max(len(picture.heads), 1) - 3
    is_wide = lane >= _NARROWEST_LANE
    lines = _side_by_side(picture, gutter, lane, paper) if is_wide else _in_one(picture, gutter, paper)
    return paper.fitting("\n".join(line.rstrip() for line in lines))


class _Line(NamedTuple):
    """A line in a lane, and what it is of."""

    text: str
    style: Style = "plain"


def _side_by_side(picture: Lanes, gutter: int, lane: int, paper: Paper) -> Iterator[str]:
    heads = [wrapped(head, lane) for head in picture.heads]
    for index in range(max(map(len, heads), default=0)):
        cells = (_Line(head[index] if index < len(head) else "", "head") for head in heads)
        yield " " * gutter + "".join(_cell(line, lane, paper) for line in cells)
    yield "─" * gutter + "".join("─┼─" + "─" * lane for _ in heads)
    for row in picture.rows:
        for lead, line in _with_lead(row, gutter, lane):
            cells = (line if call == row.call else _Line("") for call in range(len(heads)))
            yield lead + "".join(_cell(each, lane, paper) for each in cells)


def _cell(line: _Line, lane: int, paper: Paper) -> str:
    return f" │ {paper.styled(line.text, line.style)}{' ' * (lane - cell_len(line.text))}"


def _in_one(picture: Lanes, gutter: int, paper: Paper) -> Iterator[str]:
    name = max((len(call_name(call)) for call in range(len(picture.heads))), default=1)
    for head in picture.heads:
        first, *rest = (paper.styled(line, "head") for line in wrapped(head, paper.width - name - 2))
        yield from (first, *(f"{' ' * (name + 2)}{line}" for line in rest))
    yield "─" * paper.width
    for row in picture.rows:
        for lead, line in _with_lead(row, gutter, max(paper.width - gutter - name - 3, 20)):
            yield f"{lead} {call_name(row.call):>{name}}│ {paper.styled(*line)}"


def _with_lead(row: LaneRow, gutter: int, width: int) -> Iterator[tuple[str, _Line]]:
    """The lines of a row, each with what stands before it."""
    lead = f"{'>' if row.marked else ' '}{row.label:>{gutter - 1}}"
    for line in _lines(row, width):
        yield lead, line
        lead = " " * gutter


def _lines(row: LaneRow, width: int) -> Iterator[_Line]:
    """The application's line, then what it made the database do, then what came of that."""
    for line in _source(row.source, width) if row.source else ():
        yield _Line(line, "source")
    if row.kind == "ended":
        raised = row.action.startswith("raises ")
        yield from (_Line(line, "trouble" if raised else "plain") for line in wrapped(row.action, width))
        for source in row.raised_at:
            yield from (_Line(f"  {line}", "source") for line in _source(source, width - 2))
        return
    usual: Style = "marked" if row.marked else "plain"
    for text in (row.action, *row.results):
        style: Style = "trouble" if text.startswith(("waits for ", "raises ")) else usual
        yield from (_Line(f"  {line}", style) for line in wrapped(text, width - 2))


_CLAUSES = (" FROM ", " WHERE ", " SET ", " VALUES ", " ORDER BY ", " RETURNING ", " LIMIT ", " FOR UPDATE")


def wrapped(text: str, width: int) -> list[str]:
    """Break a text into lines, before the clauses of SQL where there are some."""
    text = _flat(text)
    if cell_len(text) <= width:
        return [text]
    marked = text
    for clause in _CLAUSES:
        marked = marked.replace(clause, f"\n{clause[1:]}")
    lines: list[str] = []
    for part in marked.split("\n"):
        if lines and cell_len(lines[-1]) + 1 + cell_len(part) <= width:
            lines[-1] += f" {part}"
        else:
            lines += broken(part, width, lead="  " if lines else "")
    return lines


def _source(source: str, width: int) -> list[str]:
    """The file without its folders, and the code; on two lines where one does not hold them."""
    place, _, code = _flat(source).partition(": ")
    file = place_of(place)
    if cell_len(f"{file}  {code}") <= width:
        return [f"{file}  {code}".rstrip()]
    return [cut(file, width), cut(f"  {code}", width)]


def _flat(text: str) -> str:
    """The text without what would steer a terminal, or move what comes after it; lines stay lines."""
    return printable(text).replace("\t", r"\t")


class LaneState(NamedTuple):
    """What a call is at after a row: in no transaction, in one, waiting for others, or just ended."""

    call: int
    kind: Literal["alone", "open", "waiting", "ended"]
    waits_for: tuple[int, ...] = ()


def states(rows: Sequence[LaneRow], steps: Sequence[Step]) -> Iterator[list[LaneState]]:
    """For each row, the calls that have begun and not ended in an earlier one."""
    now: dict[int, LaneState] = {}
    for row in rows:
        if row.kind == "ended":
            now[row.call] = LaneState(row.call, "ended")
        elif row.kind == "folded":
            now[row.call] = _after(row, steps[row.steps.stop - 1])
        elif row.kind != "repeated":
            now[row.call] = _after(row, steps[row.steps.start])
        yield [now[call] for call in sorted(now)]
        if row.kind == "ended":
            del now[row.call]


def _after(row: LaneRow, step: Step) -> LaneState:
    failed_at_once = step.error is not None and step.resumed_after is None
    if row.kind == "step" and step.waited_for and not failed_at_once:
        return LaneState(row.call, "waiting", tuple(sorted(step.waited_for)))
    if step.operation.in_transaction and step.operation.kind not in ("commit", "rollback", "close"):
        return LaneState(row.call, "open")
    return LaneState(row.call, "alone")
