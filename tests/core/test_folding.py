"""A long picture is short where nothing happens that others could notice, and all of it can be had."""

from __future__ import annotations

from dataclasses import replace

from aioconcurrent.base.trace import Run, Step
from aioconcurrent.report.lanes import LaneRow, as_text, lanes, states
from aioconcurrent.report.terminal import Paper
from tests.explore.traces import Tracer, waited

T = Tracer(atomic=True)
CALLS = ("withdraw(amount=80)",) * 2
PRIVATE = 'SELECT "user"."id" FROM "user" WHERE "user"."id" = %s AND "user"."role" = %s'


def private(call: int, number: int, **seen: object) -> Step:
    """A step that is like no other, so that it is told on its own."""
    return T.sql(call, f"{PRIVATE} OR {number} = {number}", (1, "x"), source=f"a.py:{number} in f: role()", **seen)


STEPS = (
    *(private(0, number) for number in range(8)),
    T.read(0, 100), T.read(1, 100), T.save(0, 20), private(0, 8), T.end(0),
    *(private(1, number) for number in range(5)), T.save(1, 20), T.end(1),
)  # fmt: skip
NOTICED = {8, 9, 10, 12, 18, 19}
RUN = Run((True, True), {}, STEPS, frozenset(range(len(STEPS))) - NOTICED)


def told(run: Run = RUN, calls: tuple[str, ...] = CALLS, *, marked: tuple[int, ...] = ()) -> list[str]:
    return [row.action if row.kind == "folded" else row.label or row.action for row in lanes(run, calls, marked).rows]


def test_neighbours_that_touch_nothing_of_other_calls_are_told_in_a_line() -> None:
    assert told() == [
        "1", "... 7 steps that touch nothing of the other call's", "9", "10", "11", "12", "13", "returns True",
        "... 5 steps that touch nothing of the other call's", "19", "20", "returns True",
    ]  # fmt: skip


def test_the_text_has_the_line_in_the_lane_of_the_call() -> None:
    lines = as_text(lanes(RUN, CALLS), Paper(140)).splitlines()
    assert "     │   ... 7 steps that touch nothing of the other call's              │" in lines
    unfolded = as_text(lanes(RUN, CALLS, unfolded=True), Paper(140)).splitlines()
    assert len(unfolded) - len(lines) == 2 * (7 + 5) - 2


def test_a_picture_of_twelve_rows_is_not_folded() -> None:
    few = (*STEPS[:8], *STEPS[8:10])
    run = Run((True, True), {}, few, frozenset(range(8)))
    assert told(run) == ["1", "2", "3", "4", "5", "6", "7", "8", "9", "returns True", "10", "returns True"]
    longer = Run((True, True), {}, (STEPS[0], *few), frozenset(range(9)))
    assert told(longer)[:3] == ["1", "... 8 steps that touch nothing of the other call's", "10"]


def test_what_explains_the_race_stays_open() -> None:
    assert told(marked=(3,))[:6] == [
        "1", "... 2 steps that touch nothing of the other call's", "4",
        "... 4 steps that touch nothing of the other call's", "9", "10",
    ]  # fmt: skip


def test_waits_what_ends_them_and_errors_stay_open() -> None:
    steps = list(STEPS)
    steps[2] = replace(steps[2], error="DataError: no")
    steps[15] = private(1, 2, **waited(0, until=5))
    run = Run((True, True), {}, tuple(steps), RUN.private)
    two_steps = "... 2 steps that touch nothing of the other call's"
    assert told(run)[:7] == ["1", "2", "3", two_steps, "6", "(step 16 goes on)", two_steps]


def test_among_more_than_two_calls_it_is_what_others_touch() -> None:
    run = Run((True, True, None), {}, STEPS, RUN.private)
    assert told(run, ("f()",) * 3)[1] == "... 7 steps that touch nothing of the other calls'"


def test_steps_of_which_nothing_is_known_are_not_folded() -> None:
    assert len(told(replace(RUN, private=frozenset()))) == len(STEPS) + 2


def test_all_can_be_unfolded() -> None:
    rows = lanes(RUN, CALLS, unfolded=True).rows
    assert [row.number for row in rows if row.number] == [*range(1, 21)]

    def opened(row: LaneRow) -> tuple[LaneRow, ...]:
        return row.folded or (row,)

    folded = [inner for row in lanes(RUN, CALLS).rows for inner in opened(row)]
    assert [row.action for row in folded] == [row.action for row in rows]


def test_the_line_after_a_fold_says_where_the_application_is() -> None:
    at_one_line = replace(RUN, steps=tuple(replace(step, source="a.py:1 in f: work()") for step in STEPS))
    rows = lanes(at_one_line, CALLS).rows
    assert [row.source for row in rows[:4]] == ["a.py:1 in f: work()", "", "a.py:1 in f: work()", "a.py:1 in f: work()"]


def test_a_fold_leaves_a_call_as_its_last_step_does() -> None:
    outside = replace(STEPS[7], operation=replace(STEPS[7].operation, in_transaction=False))
    run = replace(RUN, steps=(*STEPS[:7], outside, *STEPS[8:]))
    found = [*states(lanes(run, CALLS).rows, run.steps)]
    assert [[state.kind for state in row] for row in found[:3]] == [["open"], ["alone"], ["open"]]
