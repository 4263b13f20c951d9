"""A story in a terminal and in what is none."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from aioconcurrent._trace import Run
from aioconcurrent.report.lanes import as_text, lanes
from aioconcurrent.report.story import Story
from aioconcurrent.report.terminal import LanesView, print_story

from .stories import STORIES, T, bought_twice

ESCAPE = "\x1b"


def printed(story: Story, width: int = 100, *, terminal: bool = False, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    print_story(story, Console(file=file, width=width, force_terminal=terminal or None, _environ={"TERM": "xterm"}))
    file.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [50, 80, 100])
def test_in_a_pipe_the_lanes_are_the_plain_ones(width: int) -> None:
    story = bought_twice()
    text = printed(story, width)
    assert ESCAPE not in text
    assert as_text(lanes(story.run, story.calls, story.marked), width) in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_everything_there_is_to_tell_is_told() -> None:
    lines = printed(bought_twice(), 200).splitlines()
    assert lines[:3] == [
        "race: lost update",
        "tests/test_shop.py::test_the_last_ticket_is_sold_once",
        "8 of 70 schedules were run.",
    ]
    assert bought_twice().explanation in lines
    assert f"hint: {bought_twice().hint}" in lines
    assert lines[-6:-3] == ["output of A:", "looking for a seat", "sold"]


@pytest.mark.parametrize("width", [30, 80])
def test_no_line_is_wider_than_the_terminal_but_those_to_paste(width: int) -> None:
    story = bought_twice()
    lines = printed(story, width).splitlines()
    assert lines[-2:] == [f"replay: {line}" for line in story.replay_lines]
    assert max(map(len, lines[:-2])) <= width


def test_a_terminal_gets_a_colour_for_each_call_and_weight_for_marked_steps() -> None:
    text = printed(bought_twice(), terminal=True)
    assert f"{ESCAPE}[1;31mrace{ESCAPE}[0m" in text
    assert re.search(r"\x1b\[1;34mA: buy", text)
    assert re.search(r"\x1b\[1;35mB: buy", text)
    assert re.search(r"\x1b\[34m  INSERT INTO", text)  # step 3, not marked
    assert re.search(r"\x1b\[1;34m  UPDATE", text)  # step 4, marked
    assert re.search(r"\x1b\[1;33m  waits for A", text)


@pytest.mark.parametrize(("verdict", "colour"), [("race", 31), ("no race", 32), ("inconclusive", 33)])
def test_each_verdict_has_its_colour(verdict: str, colour: int) -> None:
    assert f"{ESCAPE}[1;{colour}m{verdict}" in printed(bought_twice(verdict=verdict), terminal=True)


def test_no_color_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    file = io.StringIO()
    print_story(bought_twice(), Console(file=file, force_terminal=True, width=100))
    assert not re.search(r"\x1b\[(?:\d+;)*3\d", file.getvalue())


def test_brackets_of_sql_are_no_markup() -> None:
    step = T.sql(0, "SELECT ARRAY[1] AS x WHERE y = %s", ("[bold]z[/bold] :smile:",))
    story = Story(title="[red]t[/red]", calls=("f([1])",), run=Run((["[/]"],), {}, (step,)), hint="[/nothing]")
    text = printed(story)
    for expected in ("[red]t[/red]", "f([1])", "ARRAY[1]", "[bold]z[/bold] :smile:", "['[/]']", "[/nothing]"):
        assert expected in text


def test_values_do_not_steer_the_terminal() -> None:
    steering = "\x1b]0;owned\x07\x1b[2J\x9b1m\u202e"
    step = T.sql(0, "SELECT %s", (steering,), error=steering, source=f"a/b.py:1 in f: {steering}")
    story = Story(
        title=steering, calls=(steering,), run=Run((1,), {}, (step,)), hint=steering, outputs=(steering + "a",),
        explanation=steering, reason=steering, test_id=steering, token=steering,
    )  # fmt: skip
    text = printed(story)
    assert not set(text) & {"\x1b", "\x07", "\x9b", "\u202e"}
    assert "\\x1b]0;owned" in text


def test_output_keeps_its_colours_in_a_terminal() -> None:
    assert f"{ESCAPE}[32msold" in printed(bought_twice(), terminal=True)


def test_where_lines_cannot_be_drawn_there_are_other_characters() -> None:
    text = printed(bought_twice(), encoding="ascii")
    assert "+----" in text
    assert "| A: buy(show_id=1)" in text


def test_a_wide_terminal_does_not_tear_the_lanes_apart() -> None:
    file = io.StringIO()
    story = STORIES["two calls"]
    Console(file=file, width=400).print(LanesView(lanes(story.run, story.calls)))
    assert max(map(len, file.getvalue().splitlines())) <= 160
