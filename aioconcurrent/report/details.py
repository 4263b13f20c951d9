"""All that is known of one step, taken apart for showing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from .._trace import Step, call_name
from .excerpt import CodeLine, excerpt, place
from .formatting import Bit, formatted
from .lanes import LaneRow
from .sql import operation_text
from .story import Story
from .values import shown

__all__ = ["Alike", "Detail", "Edge", "details"]

_LONGEST_CELL = 300
_LONGEST_PARAMETER = 1000
_PARAMETERS_SHOWN = 50
_ALIKE_SHOWN = 100


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
    code: Sequence[CodeLine] = ()
    alike: Sequence[Alike] = ()
    left_out: int = 0

    @property
    def step(self) -> Step:
        """The step itself."""
        return self.story.run.steps[self.index]

    @property
    def number(self) -> int:
        """Of the step, counted from 1."""
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
        waits = f"Waited for {' and '.join(call_name(call) for call in sorted(step.waited_for))}"
        if step.resumed_after is None:
            yield Edge(f"{waits}, and nothing set it free")
        else:
            yield Edge(f"{waits} until", step.resumed_after + 1, self._told(step.resumed_after))

    def _freed(self) -> Iterator[Edge]:
        for index in self.story.set_free.get(self.index, ()):
            yield Edge("Set free", index + 1, self._told(index))

    def _told(self, index: int) -> str:
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
            yield "time", f"at {milliseconds(started - self.story.begin)}, {took}"


def milliseconds(seconds: float) -> str:
    """A time for reading."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.2f} ms"


def details(story: Story, rows: Sequence[LaneRow]) -> list[Detail]:
    """One for each step that has a row of its own, and for those that are told together one."""
    excerpts: dict[str, list[CodeLine]] = {}
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
