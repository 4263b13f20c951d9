"""A story in a terminal: in colour where there is one, as plain text in a pipe.

Colours, the width and `NO_COLOR` are rich's business.  Texts are handed to it as
`Text`, never as markup: SQL is full of brackets.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from .lanes import Lanes, Line, Piece, lanes, layout
from .story import Story
from .values import printable

__all__ = ["LanesView", "StoryView", "print_story"]

_VERDICTS = {"race": "bold red", "no race": "bold green", "inconclusive": "bold yellow"}
# In this order two neighbours are told apart by everyone, and none of them is what errors and waits look like.
_COLOURS = ("blue", "magenta", "cyan", "green", "bright_blue", "bright_magenta", "bright_cyan", "bright_green")
_WIDEST_LANE = 80
_PLAIN = str.maketrans("│─┼", "|-+")


class LanesView:
    """Lanes for `Console.print`: side by side where the console is wide enough, else one below the other."""

    def __init__(self, picture: Lanes) -> None:
        self._picture = picture

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(options.max_width, _WIDEST_LANE * max(len(self._picture.heads), 1))
        for line in layout(self._picture, width):
            yield _line(line, ascii_only=options.ascii_only)


class StoryView:
    """A story for `Console.print`: the verdict, the lanes, what happened, what may help, and how to run it again.

    Print it with `crop=False`, as `print_story` does: lines for pasting are as long as they are.
    """

    def __init__(self, story: Story) -> None:
        self._story = story

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        story = self._story
        for text in self._head():
            yield from _wrapped(text, console, options)
        if story.run.steps:
            yield Text()
            yield LanesView(lanes(story.run, story.calls, story.marked))
        for text in (*self._texts(), *self._outputs()):
            yield Text()
            yield from _wrapped(text, console, options)
        if story.replay_lines:
            yield Text()
        for line in story.replay_lines:
            yield Text.assemble(("replay: ", "dim"), printable(line), no_wrap=True, overflow="ignore")

    def _head(self) -> Iterator[Text]:
        story = self._story
        parts = [Text(story.verdict, _VERDICTS.get(story.verdict, "bold")), Text(story.anomaly, "bold")]
        if any(parts):
            yield Text(": ").join(part for part in parts if part)
        yield Text(printable(story.test_id or story.title), "dim")
        if story.reason:
            yield Text(printable(story.reason))
        for note in story.notes:
            yield Text(f"note: {printable(note)}")

    def _texts(self) -> Iterator[Text]:
        if self._story.explanation:
            yield Text(printable(self._story.explanation))
        if self._story.hint:
            yield Text.assemble(("hint: ", "bold"), printable(self._story.hint))

    def _outputs(self) -> Iterator[Text]:
        for call, (letter, output) in enumerate(zip(self._story.letters, self._story.outputs, strict=False)):
            if output.strip():
                yield Text.assemble((f"output of {letter}:\n", _colour(call)), _coloured(output))


def print_story(story: Story, console: Console | None = None) -> None:
    """Print a story, by default to standard output."""
    (console or Console()).print(StoryView(story), crop=False)


def _wrapped(text: Text, console: Console, options: ConsoleOptions) -> Iterator[Text]:
    """Break lines as rich does, but for the blanks at their ends."""
    for line in text.wrap(console, options.max_width):
        line.rstrip()
        yield line


def _coloured(output: str) -> Text:
    """Output with the colours that it has, and with nothing else that steers a terminal."""
    text = Text.from_ansi(output.expandtabs().rstrip("\n"))
    text.plain = printable(text.plain)
    return text


def _line(line: Line, *, ascii_only: bool) -> Text:
    text = Text.assemble(*((piece.text, _style(piece)) for piece in line), no_wrap=True, overflow="ignore")
    if ascii_only:
        text.plain = text.plain.translate(_PLAIN)
    text.rstrip()
    return text


def _style(piece: Piece) -> str:
    colour = _colour(piece.call) if piece.call is not None else ""
    match piece.role:
        case "frame":
            return "dim"
        case "head" | "ended":
            return f"bold {colour}"
        case "number":
            return "bold yellow" if piece.marked else "dim"
    if piece.text.startswith("  raises"):
        return "bold red"
    if piece.text.startswith("  waits for"):
        return "bold yellow"
    weight = "bold " if piece.marked and piece.role != "source" else ""
    return weight + (colour if piece.role == "action" else "default")


def _colour(call: int) -> str:
    return _COLOURS[call % len(_COLOURS)]
