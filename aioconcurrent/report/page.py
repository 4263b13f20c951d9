"""One self-contained HTML page about one run, for a browser without a network.

Whatever comes from a project - SQL, rows, output, names - is hostile text: Django's
templates escape it, no part of it stands in a script or a style sheet, and the
page's own content security policy lets only its own script and style sheet, known
by their hashes, do anything.
"""

from __future__ import annotations

import re
import traceback
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

from django.template import Context, Engine
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from rich.text import Text

from .._trace import call_name
from ..exceptions import WrappedError
from .details import Detail, details
from .formatting import Bit, highlighted
from .lanes import LaneRow, lanes
from .states import State, states
from .story import Story
from .timeline import Timeline
from .values import shown

__all__ = ["as_page", "write_page"]

_TEMPLATES = Path(__file__).parent / "templates"
_HUES = (255, 50, 155, 325, 200, 290, 105, 5, 230, 75)
_NARROWEST_LANE = 14  # rem; narrower ones become rails, with all texts in one column beside them
_RAILS = 18.0  # rem, for all of them together
_ROWS_SHOWN = 50
_LONGEST_OUTPUT = 100_000
_LONGEST_NAME = 100

_engine: Engine | None = None
_written: set[Path] = set()


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

    @property
    def results(self) -> list[tuple[str, str]]:
        """What came of it, each with a word by which the style sheet knows waits and errors."""
        return [(_manner(result), re.sub(r"^->", "→", result)) for result in self.row.results]

    @property
    def manner(self) -> str:
        """The same of how a call ended."""
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
    style = _render("page.css", {"calls": _lanes_of_style(story), "sizes": _sizes(story)}).strip()
    script = _render("page.js", {}).strip()
    context = _context(story) | {
        "style": mark_safe(style),
        "script": mark_safe(script),
        "style_hash": _hash(style),
        "script_hash": _hash(script),
    }
    return _render("page.html", context)


def write_page(story: Story, folder: Path) -> Path:
    """Write the page of a story into `folder` and return its path.

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
    return path


def _file_name(name: str) -> str:
    """Letters, digits and dashes, and a hash: other names can look the same in these."""
    slug = re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")[-_LONGEST_NAME:].lstrip("-")
    return f"{slug or 'race'}-{blake2b(name.encode(errors='backslashreplace'), digest_size=3).hexdigest()}"


def _render(name: str, values: Mapping[str, Any]) -> str:
    global _engine
    if _engine is None:
        _engine = Engine([str(_TEMPLATES)])
    # Without these two Django would ask the project's settings how numbers and times are written.
    context = Context(dict(values), use_l10n=False, use_tz=False)
    return _engine.get_template(name).render(context)


def _hash(text: str) -> str:
    return b64encode(sha256(text.encode()).digest()).decode()


def _context(story: Story) -> dict[str, Any]:
    picture = lanes(story.run, story.calls, story.marked)
    found = details(story, picture.rows)
    return {
        "story": story,
        "verdict_class": story.verdict.replace(" ", "-"),
        "heads": [(call, call_name(call), text) for call, text in enumerate(story.calls)],
        "rows": _rows(story, picture.rows, found),
        "details": found,
        "steps": len(story.run.steps),
        "calls": [_call(story, call) for call in range(len(story.calls))],
        "tables": [_table(name, rows) for name, rows in sorted(story.run.tables.items())],
        "timeline": Timeline(story) if story.run.is_timed else None,
    }


def _rows(story: Story, rows: tuple[LaneRow, ...], found: list[Detail]) -> list[_Row]:
    vendor = next((step.operation.vendor for step in story.run.steps if step.operation.vendor), "")
    targets = {detail.index: f"step-{detail.number}" for detail in found}
    rails = cache(_rail)
    made = []
    for row, after in zip(rows, states(rows, story.run.steps), strict=True):
        target = f"call-{row.call}" if row.kind == "ended" else targets.get(row.steps.start, f"call-{row.call}")
        is_sql = row.kind == "step" and story.run.steps[row.steps.start].operation.kind in ("sql", "many")
        bits = highlighted(row.action, vendor) if is_sql else [Bit(row.action, "keyword" if row.kind == "step" else "")]
        time = ""
        if row.kind == "step" and story.run.is_timed:
            time = f"{(story.run.steps[row.steps.start].started - story.begin) * 1000:.1f} ms"
        where, code = _split(row.source)
        lines = SafeString("".join(map(rails, after)))
        made.append(_Row(row, call_name(row.call), _label(row, story), target, where, code, bits, lines, time))
    return made


def _rail(state: State) -> SafeString:
    """A piece of a call's line; there are very many alike, too many for a loop of the template."""
    if not state.waits_for:
        return format_html('<i class="rail l{} {}"></i>', state.call, state.kind)
    waits = f"waits for {' and '.join(map(call_name, state.waits_for))}"
    return format_html('<i class="rail l{} {}" data-text="{}"></i>', state.call, state.kind, waits)


def _manner(text: str) -> str:
    return next((word for word in ("waits", "raises") if text.startswith(f"{word} ")), "")


def _split(source: str) -> tuple[str, str]:
    """The file without its folders, and the code."""
    where, _, code = source.partition(": ")
    return where.partition(" in ")[0].replace("\\", "/").rsplit("/", 1)[-1], code


def _label(row: LaneRow, story: Story) -> str:
    total = len(story.run.steps)
    match row.kind:
        case "step":
            return f"Step {row.number} of {total}"
        case "resumed":
            return f"Step {row.steps.start + 1} goes on"
        case "repeated":
            return f"Steps {row.steps.start + 1} to {row.steps.stop} of {total}"
    return f"{call_name(row.call)} ends"


def _call(story: Story, call: int) -> _Call:
    name, text = call_name(call), story.calls[call]
    output = _plain(story.outputs[call]) if call < len(story.outputs) else ""
    if call >= len(story.run.outcomes):  # there is a verdict on many runs, and none of them to show
        return _Call(call, name, text, "", False, "", output)
    outcome = story.run.outcomes[call]
    error = outcome.error if isinstance(outcome, WrappedError) else outcome
    if not isinstance(error, BaseException):
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


def _lanes_of_style(story: Story) -> list[tuple[int, int]]:
    return [(call, _HUES[call % len(_HUES)]) for call in range(len(story.calls))]


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
