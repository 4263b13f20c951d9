"""One self-contained HTML page about one run, for a browser without a network.

Whatever comes from a project - SQL, rows, output, names - is hostile text: Django's
templates escape it, no part of it stands in a script or a style sheet, and the
page's own content security policy lets only its own script and style sheet, known
by their hashes, do anything.
"""

from __future__ import annotations

import re
import shlex
import traceback
from base64 import b64encode
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import blake2b, sha256
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.template import Context, Engine
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from rich.text import Text

from .._text import shown
from ..base.sources import place_of
from ..base.trace import Precedence, Run, Step, call_name, call_names
from ..exceptions import error_of
from ..sql.accesses import accesses
from .endings import Ended, compared
from .excerpt import Excerpt, excerpt, place
from .lanes import LaneRow, LaneState, lanes, states
from .sql import Bit, formatted, highlighted, operation_text
from .timeline import Timeline, milliseconds

_TEMPLATES = Path(__file__).parent / "templates"
_HUES = (255, 50, 155, 325, 200, 290, 105, 5, 230, 75)
_NARROWEST_LANE = 14  # rem; narrower ones become rails, with all texts in one column beside them
_RAILS = 18.0  # rem, for all of them together
_HEADS_WITH_TEXT = 4
_ROWS_SHOWN = 50
_LONGEST_OUTPUT = 100_000
_LONGEST_NAME = 100

_LONGEST_CELL = 300
_LONGEST_PARAMETER = 1000
_PARAMETERS_SHOWN = 50
_ALIKE_SHOWN = 100

_engine: Engine | None = None
_written: set[Path] = set()


@dataclass(frozen=True, kw_only=True)
class Story:
    """One run and what a page says about it.

    Attributes:
        title: The name of the test if there is one, else what was run.
        calls: The text of each call, such as "withdraw(account_id=1, amount=80)".
        run: What they did.
        verdict: "race", "no race" or "inconclusive"; empty where nothing was judged.
        reason: What the verdict rests on.
        notes: What else the user should know.
        marked: The indexes of the steps that the explanation is about.
        anomaly: The name of the race, as "lost update".
        explanation: What happened, in a sentence or two.
        hint: What may help.
        token: Of the schedule.
        test_id: As pytest has it, "tests/test_bank.py::test_withdraw".
        outputs: What each call printed.
        cycle: Why each of two calls comes before the other.
        serial: Serial orders of the calls, and how they ended.
        editor: The address by which a source line opens, with "{file}" and "{line}" in it; empty for none.
        test: The text of a module of tests with this race.
    """

    title: str
    calls: Sequence[str]
    run: Run
    verdict: str = ""
    reason: str = ""
    notes: Sequence[str] = ()
    marked: Collection[int] = frozenset()
    anomaly: str = ""
    explanation: str = ""
    hint: str = ""
    token: str = ""
    test_id: str = ""
    outputs: Sequence[str] = ()
    cycle: Sequence[Precedence] = ()
    serial: Sequence[Ended] = ()
    editor: str = ""
    test: str = ""

    @property
    def replay_lines(self) -> tuple[str, ...]:
        """What to paste to run the schedule again: for a shell, and for a test; nothing without a token."""
        if not self.token:
            return ()
        test = [shlex.quote(self.test_id)] if self.test_id else []
        command = " ".join(["pytest", *test, "--aioconcurrent-replay", shlex.quote(self.token)])
        return command, f'replay("{self.token}", ...)'


_EMPTY = Story(title="", calls=(), run=Run())


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the lanes with what a page shows beside it."""

    row: LaneRow
    letter: str
    label: str
    target: str
    place: str
    code: str
    bits: list[Bit]
    rails: str
    time: str = ""
    is_inside: bool = False  # of a fold
    stale_from: int | None = None  # the step that changed what it read
    tables: str = ""  # by their numbers; "*" for what stays whichever is asked for

    @property
    def results(self) -> list[tuple[str, str]]:
        """What came of it, each with a word by which the style sheet knows waits and errors."""
        return [(_manner(result), re.sub(r"^->", "→", result)) for result in self.row.results]

    @property
    def manner(self) -> str:
        """The word by which the style sheet knows how a call ended."""
        return _manner(self.row.action) if self.row.kind == "ended" else ""


@dataclass(frozen=True, slots=True)
class _Call:
    """A call and what became of it."""

    index: int
    letter: str
    text: str
    outcome: str
    failed: bool
    trace: str
    output: str


@dataclass(frozen=True, slots=True)
class _Table:
    """The rows of a table after the run."""

    name: str
    columns: list[str]
    rows: list[list[str]]
    more: int


def as_page(story: Story) -> str:
    """Render a story as HTML; neither Django's settings nor its apps are needed."""
    style = style_of_pages(story)
    script = rendered("page.js", {}).strip()
    context = _context(story) | {
        "style": mark_safe(style),
        "script": mark_safe(script),
        "style_hash": content_hash(style),
        "script_hash": content_hash(script),
    }
    return rendered("page.html", context)


def style_of_pages(story: Story = _EMPTY) -> str:
    """The style sheet, with a colour for each call of a story."""
    colours = [(call, _HUES[call % len(_HUES)]) for call in range(len(story.calls))]
    return rendered("page.css", {"calls": colours, "sizes": _sizes(story)}).strip()


def write_page(story: Story, folder: Path, data: str = "") -> Path:
    """Write the page of a story into `folder`, and beside it the same as data, if given; return the page's path.

    The name follows from the test's id, so that the next run writes over it, but
    the second page of one name in one run gets a number.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = _file_name(story.test_id or story.title)
    path, number = folder.resolve() / f"{name}.html", 2
    while path in _written:
        path, number = path.with_name(f"{name}-{number}.html"), number + 1
    _written.add(path)
    # Output can hold bytes that were no text; they must not cost the page.
    path.write_text(as_page(story), encoding="utf-8", errors="backslashreplace", newline="\n")
    if data:
        path.with_suffix(".json").write_text(data, encoding="utf-8", newline="\n")
    return path


def page_names(folder: Path, test_id: str) -> list[Path]:
    """The files in `folder` that pages about a test can be."""
    name = _file_name(test_id)
    return [page for page in folder.glob(f"{name}*.html") if re.fullmatch(rf"{name}(-\d+)?", page.stem)]


def _file_name(name: str) -> str:
    """Letters, digits and dashes, and a hash: other names can look the same in these."""
    slug = re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")[-_LONGEST_NAME:].lstrip("-")
    return f"{slug or 'race'}-{blake2b(name.encode(errors='backslashreplace'), digest_size=3).hexdigest()}"


def rendered(name: str, values: Mapping[str, Any]) -> str:
    """Fill in a template of pages; neither Django's settings nor its apps are needed."""
    global _engine
    if _engine is None:
        _engine = Engine([str(_TEMPLATES)])
    # Without these two Django would ask the project's settings how numbers and times are written.
    context = Context(dict(values), use_l10n=False, use_tz=False)
    return _engine.get_template(name).render(context)


def content_hash(text: str) -> str:
    """What a content security policy knows a script or a style sheet by."""
    return b64encode(sha256(text.encode()).digest()).decode()


def _context(story: Story) -> dict[str, Any]:
    rows = list(_unfolded(lanes(story.run, story.calls, story.marked).rows))
    found = details(story, [row for row, _ in rows])
    tables = _Tables(story.run)
    return {
        "story": story,
        "verdict_class": story.verdict.replace(" ", "-"),
        "heads": [(call, call_name(call), text) for call, text in enumerate(story.calls)],
        "alike": _alike(story.calls),
        "cycle": [_reason(story.run, each) for each in story.cycle],
        "endings": compared(story.run, story.calls, story.serial),
        "filter": tables.names if len(tables.names) > 1 else [],
        "rows": _rows(story, rows, found, tables),
        "is_folded": any(row.folded for row, _ in rows),
        "details": found,
        "steps": len(story.run.steps),
        "calls": [_call(story, call) for call in range(len(story.calls))],
        "tables": [_table(name, rows) for name, rows in sorted(story.run.tables.items())],
        "timeline": Timeline(story.run, len(story.calls), story.marked) if story.run.is_timed else None,
    }


def _unfolded(rows: Sequence[LaneRow]) -> Iterator[tuple[LaneRow, bool]]:
    """The rows, each fold with what is in it, and whether they are inside of one."""
    for row in rows:
        yield row, False
        yield from ((inner, True) for inner in row.folded)


@dataclass(frozen=True, slots=True)
class _Reason:
    """Why one call comes before another: what is said, with the numbers of two steps in it."""

    step: int
    did: str
    other: int
    order: str


def _reason(run: Run, edge: Precedence) -> _Reason:
    before, after = (call_name(run.steps[index].call) for index in (edge.before, edge.after))
    order = f"so {before} comes before {after}"
    match edge.why:
        case "read":
            return _Reason(edge.before + 1, f"{before} read what {after} then changed in", edge.after + 1, order)
        case "write":
            return _Reason(edge.after + 1, f"{after} wrote over what {before} had written in", edge.before + 1, order)
    return _Reason(edge.after + 1, f"{after} read what {before} had changed in", edge.before + 1, order)


def _alike(calls: Sequence[str]) -> list[tuple[str, str]]:
    """The letters of calls with one text, where these are too many to stand at the head of their lanes."""
    if len(calls) <= _HEADS_WITH_TEXT:
        return []
    runs = [(text, [call for call, _ in found]) for text, found in groupby(enumerate(calls), lambda each: each[1])]
    return [(" to ".join(dict.fromkeys((call_name(run[0]), call_name(run[-1])))), text) for text, run in runs]


class _Tables:
    """Which tables each step concerns."""

    def __init__(self, run: Run) -> None:
        self._of_step: dict[int, set[str]] = {}
        for access in accesses(run.steps):
            self._of_step.setdefault(access.step, set()).add(access.table)
        self.names = sorted({name for names in self._of_step.values() for name in names})

    def numbers(self, row: LaneRow) -> str:
        """The numbers of the tables of a row; ends of calls belong to all tables, which is written "*"."""
        if row.kind in ("ended", "resumed"):
            return "*"
        names = {name for index in row.steps for name in self._of_step.get(index, ())}
        return " ".join(str(self.names.index(name)) for name in sorted(names))


def _rows(story: Story, rows: Sequence[tuple[LaneRow, bool]], found: list[Detail], tables: _Tables) -> list[_Row]:
    stale = {edge.before: edge.after + 1 for edge in story.cycle if edge.why == "read"}
    vendor = next((step.operation.vendor for step in story.run.steps if step.operation.vendor), "")
    targets = {detail.index: f"step-{detail.number}" for detail in found}
    rails = cache(_rail)
    made = []
    for (row, is_inside), after in zip(rows, states([row for row, _ in rows], story.run.steps), strict=True):
        target = f"call-{row.call}" if row.kind == "ended" else targets.get(row.steps.start, f"call-{row.call}")
        is_sql = row.kind == "step" and story.run.steps[row.steps.start].operation.kind in ("sql", "many")
        bits = highlighted(row.action, vendor) if is_sql else [Bit(row.action, "keyword" if row.kind == "step" else "")]
        time = ""
        if row.kind == "step" and story.run.is_timed:
            time = f"{(story.run.steps[row.steps.start].started - story.run.begun) * 1000:.1f} ms"
        where, code = _split(row.source)
        lines = SafeString("".join(map(rails, after)))
        label = _label(row, story)
        stale_from = stale.get(row.steps.start) if row.kind == "step" else None
        numbers = tables.numbers(row)
        letter = call_name(row.call)
        made.append(_Row(row, letter, label, target, where, code, bits, lines, time, is_inside, stale_from, numbers))
    return made


def _rail(state: LaneState) -> SafeString:
    """A piece of a call's line; there are very many alike, too many for a loop of the template."""
    if not state.waits_for:
        return format_html('<i class="rail l{} {}"></i>', state.call, state.kind)
    waits = f"waits for {call_names(state.waits_for)}"
    return format_html('<i class="rail l{} {}" data-text="{}"></i>', state.call, state.kind, waits)


def _manner(text: str) -> str:
    return next((word for word in ("waits", "raises") if text.startswith(f"{word} ")), "")


def _split(source: str) -> tuple[str, str]:
    """The file without its folders, and the code."""
    where, _, code = source.partition(": ")
    return place_of(where), code


def _label(row: LaneRow, story: Story) -> str:
    total = len(story.run.steps)
    match row.kind:
        case "step":
            return f"Step {row.number} of {total}"
        case "resumed":
            return f"Step {row.steps.start + 1} goes on"
        case "repeated" | "folded":
            return f"Steps {row.steps.start + 1} to {row.steps.stop} of {total}"
    return f"{call_name(row.call)} ends"


def _call(story: Story, call: int) -> _Call:
    name, text = call_name(call), story.calls[call]
    output = _plain(story.outputs[call]) if call < len(story.outputs) else ""
    if call >= len(story.run.outcomes):  # there is a verdict on many runs, and none of them to show
        return _Call(call, name, text, "", False, "", output)
    outcome = story.run.outcomes[call]
    if (error := error_of(outcome)) is None:
        return _Call(call, name, text, f"returns {shown(outcome)}", False, "", output)
    said = "".join(traceback.format_exception_only(error)).strip()
    frames = "".join(traceback.format_exception(error)).rstrip() if error.__traceback__ else ""
    return _Call(call, name, text, f"raises {said}", True, frames, output)


def _plain(output: str) -> str:
    """Output without its colours, and of a very long one the end."""
    return Text.from_ansi(output[-_LONGEST_OUTPUT:]).plain.strip("\n")


def _table(name: str, rows: list[dict[str, Any]]) -> _Table:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [[shown(row[column], 200) if column in row else "" for column in columns] for row in rows[:_ROWS_SHOWN]]
    return _Table(name, columns, cells, len(rows) - len(cells))


def _sizes(story: Story) -> dict[str, object]:
    count = max(len(story.calls), 1)
    gutter = 5 if story.run.is_timed else 3.5
    rail = min(1.7, max(0.7, _RAILS / count))
    return {
        "count": count,
        "gutter": gutter,
        "narrow_gutter": 4.5 if story.run.is_timed else 2.5,
        "rail": f"{rail:.2f}",
        "rails_from": f"{gutter + rail * count + 18:.1f}",
        "lanes_from": f"{gutter + _NARROWEST_LANE * count:.1f}",
    }


@dataclass(frozen=True, slots=True)
class Edge:
    """A wait: what is said about it, and the step at its other end, counted from 1."""

    text: str
    step: int | None = None
    end: str = ""


@dataclass(frozen=True, slots=True)
class Alike:
    """One of the steps of a loop that is told once."""

    number: int
    text: str


@dataclass(frozen=True)
class Detail:
    """One step of a story, as a template wants it."""

    story: Story
    index: int
    excerpt: Excerpt = Excerpt()  # noqa: RUF009 - it cannot be changed
    alike: Sequence[Alike] = ()
    left_out: int = 0

    @property
    def step(self) -> Step:
        """The step itself."""
        return self.story.run.steps[self.index]

    @property
    def number(self) -> int:
        """The number of the step, counted from 1."""
        return self.index + 1

    @property
    def call(self) -> int:
        """Whose step it is."""
        return self.step.call

    @property
    def letter(self) -> str:
        """What that call is called."""
        return call_name(self.step.call)

    @property
    def is_marked(self) -> bool:
        """Whether the explanation is about it."""
        return self.index in self.story.marked

    @property
    def place(self) -> str:
        """Where in the application it was asked for."""
        return place(self.step.source or "")

    @property
    def address(self) -> str:
        """What opens that place in the editor, if one is chosen and the file was found."""
        if not (self.story.editor and self.excerpt.file):
            return ""
        file = quote(Path(self.excerpt.file).as_posix(), safe="/:")
        return self.story.editor.replace("{file}", file).replace("{line}", str(self.excerpt.number))

    @cached_property
    def statement(self) -> list[Bit]:
        """The SQL in lines; of anything else what it is in a word."""
        if self.step.operation.kind in ("sql", "many"):
            return formatted(self.step.operation)
        return [Bit(operation_text(self.step.operation), "keyword")]

    @property
    def parameters(self) -> list[str]:
        """The parameters of the statement, each as Python writes it."""
        if self.step.operation.kind == "cache":
            return []
        given = self.step.operation.parameters or ()
        texts = [shown(value, _LONGEST_PARAMETER) for value in given[:_PARAMETERS_SHOWN]]
        return [*texts, f"and {len(given) - len(texts)} more"] if len(given) > len(texts) else texts

    @property
    def rows(self) -> list[list[str]]:
        """The rows that were fetched."""
        return [[shown(value, _LONGEST_CELL) for value in row] for row in self.step.rows]

    @property
    def more_rows(self) -> int:
        """How many rows came and were not kept."""
        return max((self.step.rowcount or 0) - len(self.step.rows), 0) if self.step.rows else 0

    @property
    def rowcount(self) -> int | None:
        """How many rows a statement concerned that fetched none."""
        counted = self.step.operation.kind in ("sql", "many") and (self.step.rowcount or 0) >= 0
        return self.step.rowcount if counted and not self.step.columns else None

    @property
    def edges(self) -> list[Edge]:
        """For whom it waited and what set it free, and what it set free."""
        return [*self._waited(), *self._freed()]

    def _waited(self) -> Iterator[Edge]:
        step = self.step
        if not step.waited_for:
            return
        waits = f"Waited for {call_names(step.waited_for)}"
        if step.resumed_after is None:
            yield Edge(f"{waits}, and nothing set it free")
        else:
            yield Edge(f"{waits} until", step.resumed_after + 1, self._whose(step.resumed_after))

    def _freed(self) -> Iterator[Edge]:
        for index in self.story.run.set_free.get(self.index, ()):
            yield Edge("Set free", index + 1, self._whose(index))

    def _whose(self, index: int) -> str:
        step = self.story.run.steps[index]
        verb = operation_text(step.operation).split(" ", 1)[0]
        return f"{call_name(step.call)}'s {verb}"

    @property
    def facts(self) -> Iterator[tuple[str, str]]:
        """What else was seen, by name."""
        operation = self.step.operation
        if operation.database:
            yield "database", f"{operation.vendor} {operation.database}".strip()
        if operation.kind in ("sql", "many", "callproc"):
            level = f", {operation.isolation}" if operation.isolation and operation.in_transaction else ""
            yield "transaction", f"open{level}" if operation.in_transaction else "none, it commits by itself"
        if operation.connection:
            yield "connection", f"number {operation.connection + 1} of the call"
        if self.story.run.is_timed:
            started, ended = self.step.started, self.step.ended
            took = "was still running at the end" if ended is None else f"took {milliseconds(ended - started)}"
            yield "time", f"at {milliseconds(started - self.story.run.begun)}, {took}"


def details(story: Story, rows: Sequence[LaneRow]) -> list[Detail]:
    """Details of each step that has a row of its own, and of the first of steps that are told together."""
    excerpts: dict[str, Excerpt] = {}
    made = []
    for row in rows:
        if row.kind not in ("step", "repeated"):
            continue
        index = row.steps.start
        source = story.run.steps[index].source or ""
        if source not in excerpts:
            excerpts[source] = excerpt(source)
        told = row.steps[:_ALIKE_SHOWN] if row.kind == "repeated" else range(0)
        alike = [Alike(each + 1, operation_text(story.run.steps[each].operation)) for each in told]
        left_out = len(row.steps) - len(alike) if alike else 0
        made.append(Detail(story, index, excerpts[source], alike, left_out))
    return made
