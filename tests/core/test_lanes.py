"""The picture of a run as text."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from aioconcurrent.base.trace import Operation, Run, Step
from aioconcurrent.exceptions import WrappedError
from aioconcurrent.report.lanes import as_text, lanes
from aioconcurrent.report.sql import literal, operation_text
from aioconcurrent.report.terminal import Paper
from tests.explore.traces import Tracer, cached, waited

T = Tracer(atomic=True)
LOST = (
    T.read(0, 100),
    T.read(1, 100),
    T.save(0, 20),
    T.save(1, 20, **waited(0, until=4)),
    T.end(0),
    T.end(1),
)
CALLS = ("withdraw(amount=80)", "withdraw(amount=80)")


def text(steps: tuple[Step, ...], *outcomes: object, width: int = 100, marked: tuple[int, ...] = ()) -> str:
    results = outcomes or (None, None)
    calls = [CALLS[0]] * len(results)
    return as_text(lanes(Run(results, {}, steps), calls, marked), Paper(width))


def test_a_lost_update_looks_like_this() -> None:
    assert text(LOST, True, None, marked=(1, 2, 3)) == PICTURE.strip("\n")


PICTURE = """
    │ A: withdraw(amount=80)                        │ B: withdraw(amount=80)
────┼───────────────────────────────────────────────┼──────────────────────────────────────────────
  1 │ bank.py:41  account = get(pk)                 │
    │   SELECT id, owner, balance FROM account      │
    │     WHERE id = 1                              │
    │   -> id=1, owner='ann', balance=100           │
> 2 │                                               │ bank.py:41  account = get(pk)
    │                                               │   SELECT id, owner, balance FROM account
    │                                               │     WHERE id = 1
    │                                               │   -> id=1, owner='ann', balance=100
> 3 │ bank.py:44  account.save()                    │
    │   UPDATE account                              │
    │     SET owner = 'ann', balance = 20           │
    │     WHERE id = 1                              │
    │   -> 1 row                                    │
> 4 │                                               │ bank.py:44  account.save()
    │                                               │   UPDATE account
    │                                               │     SET owner = 'ann', balance = 20
    │                                               │     WHERE id = 1
    │                                               │   waits for A
  5 │   COMMIT                                      │
    │ returns True                                  │
    │                                               │   (step 4 goes on)
    │                                               │   -> 1 row
  6 │                                               │   COMMIT
    │                                               │ returns None
"""


def test_characters_that_are_two_cells_wide_move_nothing() -> None:
    drawn = text((T.sql(0, "SELECT name FROM show WHERE name = %s", "東京物語" * 20),), "東京物語" * 20, None)
    bars = {[*accumulate(map(cell_len, line.split("│")))][1] for line in drawn.splitlines() if line.count("│") == 2}
    assert len(bars) == 1
    assert max(map(cell_len, drawn.splitlines())) <= 100


def test_colours_change_nothing_else() -> None:
    picture = lanes(Run((True, None), {}, LOST), CALLS, (1, 2, 3))
    coloured = as_text(picture, Paper(100, is_coloured=True))
    assert "\x1b[31mwaits for A" in coloured.replace("  waits", "waits")
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == PICTURE.strip("\n")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "no such encoding"])
def test_an_encoding_without_lines_gets_ascii(encoding: str) -> None:
    picture = lanes(Run(("é", "東"), {}, LOST), CALLS)
    drawn = as_text(picture, Paper(100, encoding=encoding))
    assert drawn.isascii()
    assert "----+-----" in drawn
    assert "returns '\\u6771'" in drawn


def test_lanes_that_are_too_narrow_go_below_each_other() -> None:
    picture = text(LOST, width=60, marked=(3,))
    assert "> 4 B│ bank.py:44  account.save()\n" in picture
    assert "    B│   waits for A\n" in picture


def _refuse() -> None:
    raise LookupError("no seat")


def test_the_last_lines_of_the_application_stand_below_what_it_raised() -> None:
    try:  # the lines of libraries are left out
        json.loads("{}", object_hook=lambda _: _refuse())
    except LookupError as error:
        picture = text((T.read(0, 100),), WrappedError(error), True, width=200)
    below = picture.partition("raises LookupError: no seat")[2]
    places = re.findall(r"test_lanes\.py:\d+  (.*?) +│", below)
    assert [place[:22] for place in places] == [
        'json.loads("{}", objec',
        'json.loads("{}", objec',
        'raise LookupError("no ',
    ]


def test_an_error_is_told_where_it_was_raised_and_how_the_call_ended() -> None:
    failed = T.save(0, 1, error="OperationalError: deadlock detected")
    error = WrappedError(ValueError("first line\nsecond line"))
    assert text((failed,), error).splitlines()[-2:] == [
        "    │   raises OperationalError: deadlock detected",
        "    │ raises ValueError: first line",
    ]


def test_what_would_steer_a_terminal_is_shown() -> None:
    drawn = text((), WrappedError(ValueError("red \x1b[31m, backwards \u202e")), "null \x00", width=200)
    assert r"raises ValueError: red \x1b[31m, backwards \u202e" in drawn
    assert r"returns 'null \x00'" in drawn


def test_an_error_without_a_text_is_told_by_its_name() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise SystemExit

    assert "raises MuteError: <no text: its __str__ raised SystemExit>" in text(
        (), WrappedError(MuteError()), None, width=200
    )


def test_a_call_without_a_step_still_ends() -> None:
    assert text((), 3).splitlines()[-1].endswith("│ returns 3")


@pytest.mark.parametrize(
    ("step", "line"),
    [
        (T.sql(0, 'SELECT 1 AS "a" FROM "slot" WHERE "slot"."name" = %s', "x", columns=("a",)), "-> no row"),
        (T.sql(0, 'SELECT COUNT(*) AS "__count" FROM "slot"', rows=[{"__count": 2}]), "-> count=2"),
        (T.sql(0, 'DELETE FROM "slot"', rowcount=0), "-> no row"),
        (T.sql(0, 'SELECT "slot"."id" FROM "slot"', rows=[{"id": n} for n in range(9)]), "-> 6 more rows"),
        (cached(0, "get", "hits", 7), "-> 7"),
        (cached(0, "get", "hits", None, count=0), "-> nothing"),
        (cached(0, "get", "hits", None, count=1), "-> None"),
        (cached(0, "set", "hits", 8), "cache.set('hits', 8)"),
        (cached(0, "set_many", "hits", 8), "cache.set_many({'hits': 8})"),
        (cached(0, "add", "hits", 8, count=1), "cache.add('hits', 8)"),
        (cached(0, "add", "hits", 8, count=1), "-> True"),
        (cached(0, "delete", "hits", count=0), "-> False"),
        (cached(0, "incr", "hits", 9), "-> 9"),
        (Step(0, Operation("step", "paid")), "step('paid')"),
    ],
)
def test_each_step_tells_what_came_of_it(step: Step, line: str) -> None:
    assert line in [each.split("│")[1].strip() for each in text((step,), None).splitlines()[2:]]


WIDE = [f"c{n}" for n in range(12)]


def test_of_many_columns_those_are_shown_that_say_something() -> None:
    names = ", ".join(f'"book"."{name}"' for name in WIDE)
    found = dict.fromkeys(WIDE, 0)
    read = T.sql(0, f'SELECT {names} FROM "book" WHERE "book"."c0" = %s', (0,), rows=[found])
    sets = ", ".join(f'"{name}" = %s' for name in WIDE[1:])
    save = T.sql(0, f'UPDATE "book" SET {sets} WHERE "book"."c0" = %s', (*[0] * 7, 5, *[0] * 3, 0), rowcount=1)
    picture = text((read, save), None)
    assert "SELECT c0, c8, ... FROM book WHERE c0 = 0" in picture
    assert "-> c0=0, c8=0, ..." in picture
    assert "UPDATE book SET c8 = 5, ... WHERE c0 = 0" in picture


@pytest.mark.parametrize("size", [1, 2])
def test_a_loop_is_told_once(size: int) -> None:
    loop = [T.read(0, 1, 1), T.save(0, 2)][:size]
    picture = text((*loop * 250, T.end(0)), None)
    assert len(picture.splitlines()) < 20
    assert f"(the same{' 2 steps' if size == 2 else ''} 249 more times, up to step {250 * size})" in picture
    assert f"{250 * size + 1} │   COMMIT" in picture


def test_a_marked_step_is_never_left_out() -> None:
    picture = text(tuple([T.read(0, 1)] * 30), None, marked=(15,))
    assert "> 16 │" in picture


def test_placeholders_of_all_styles_are_filled_in() -> None:
    def told(sql: str, *parameters: str | float | bytes | None) -> str:
        return operation_text(Operation("sql", sql, parameters, "sqlite"))

    assert (
        told("SELECT a FROM t WHERE b = %s AND c LIKE '%%x'", "it's")
        == "SELECT a FROM t WHERE b = 'it''s' AND c LIKE '%x'"
    )
    assert told("SELECT a FROM t WHERE b = %(x)s OR c = %(x)s", 1.5) == "SELECT a FROM t WHERE b = 1.5 OR c = 1.5"
    assert told("UPDATE t SET a = ? WHERE b = ?", None, b"\x01") == "UPDATE t SET a = NULL WHERE b = x'01'"
    assert operation_text(Operation("sql", "SELECT '%s'", None, "sqlite")) == "SELECT '%s'"
    operator = Operation("sql", "SELECT a FROM t WHERE b ? c AND d = %s", (1,), "postgresql")
    assert operation_text(operator) == "SELECT a FROM t WHERE b ? c AND d = 1"
    assert operation_text(Operation("sql", 'SAVEPOINT "s1402_x3"', (), "sqlite")) == "SAVEPOINT x3"
    assert len(literal("x" * 500)) <= 40


STEPS = st.lists(st.tuples(st.integers(0, 19), st.booleans()), max_size=60)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(1, 20), st.integers(40, 200), st.sampled_from("x東"))
def test_no_line_is_wider_than_asked_and_no_call_is_left_out(
    made: list[tuple[int, bool]], calls: int, width: int, letter: str
) -> None:
    long = replace(T.save(0, 1), source=f"shop/bank.py:7 in {letter * 90}: {f'account{letter}.' * 30}save()")
    steps = tuple(replace(long if save else T.read(0, 1), call=call % calls) for call, save in made)
    picture = text(steps, *[letter * 90] * calls, width=width)
    assert max(map(cell_len, picture.splitlines())) <= width
    assert picture.count("returns") == calls
