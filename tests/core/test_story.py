"""A story, and what its pictures make of it."""

from __future__ import annotations

from aioconcurrent.base.trace import Run, interleaved
from aioconcurrent.report.lanes import LaneState, lanes, states
from aioconcurrent.report.page import Story, details
from aioconcurrent.report.timeline import Timeline
from tests.explore.traces import timed
from tests.report.stories import STORIES, T, bought_twice, get, recorded, save


def test_recorded_steps_are_told_in_the_order_of_their_beginnings() -> None:
    waiting = save(1, waited_for=frozenset({0}))
    given = [timed(T.end(0), 5.0, 6.0), timed(get(0), 1.0, 2.0)], [timed(get(1), 2.0, 3.0), timed(waiting, 4.0, 6.5)]
    steps = interleaved(given)
    assert [step.call for step in steps] == [0, 1, 1, 0]
    assert steps[2].resumed_after == 3
    assert [step.started for step in steps] == [1.0, 2.0, 4.0, 5.0]


def test_the_lines_to_paste_are_quoted_for_a_shell() -> None:
    story = bought_twice(test_id="tests/t.py::test_buy[a b]", token="aioc1:0*2.1:Ab_-")
    assert story.replay_lines == (
        "pytest 'tests/t.py::test_buy[a b]' --aioconcurrent-replay 'aioc1:0*2.1:Ab_-'",
        'replay("aioc1:0*2.1:Ab_-", ...)',
    )
    assert bought_twice(token="").replay_lines == ()


def test_states_follow_transactions_waits_and_ends() -> None:
    story = STORIES["two calls"]
    rows = lanes(story.run, story.calls).rows
    told = [[(state.call, state.kind) for state in row] for row in states(rows, story.run.steps)]
    assert told == [
        [(0, "open")],
        *[[(0, "open"), (1, "open")]] * 4,
        [(0, "open"), (1, "waiting")],
        [(0, "alone"), (1, "waiting")],
        [(0, "ended"), (1, "waiting")],
        [(1, "open")],
        [(1, "alone")],
        [(1, "ended")],
    ]


def test_a_call_that_nothing_sets_free_waits_on_and_one_that_failed_does_not() -> None:
    stuck, failed = save(0, waited_for=frozenset({2, 1})), save(0, waited_for=frozenset({1}), error="deadlock")
    for step, state in ((stuck, LaneState(0, "waiting", (1, 2))), (failed, LaneState(0, "open"))):
        rows = lanes(Run((None,), {}, (step,)), ["f()"]).rows
        assert next(states(rows, (step,))) == [state]


def test_a_wait_is_told_at_both_ends() -> None:
    story = STORIES["two calls"]
    found = details(story, lanes(story.run, story.calls).rows)
    assert [(edge.text, edge.step, edge.end) for edge in found[5].edges] == [("Waited for A until", 7, "A's COMMIT")]
    assert [(edge.text, edge.step, edge.end) for edge in found[6].edges] == [("Set free", 6, "B's UPDATE")]


def test_steps_that_are_told_once_are_listed() -> None:
    story = Story(title="t", calls=("f()",), run=Run((None,), {}, (*[get(0)] * 250, T.end(0))))
    found = details(story, lanes(story.run, story.calls).rows)
    assert [detail.number for detail in found] == [1, 2, 251]
    assert [each.number for each in found[1].alike] == list(range(2, 102))
    assert found[1].left_out == 149


def test_bars_lie_on_one_axis() -> None:
    bars = list(Timeline(recorded().run, 4).bars)
    first, waiting = bars[0], bars[8]
    assert (first.call, first.left, first.kind) == (0, "4.000%", "")
    assert waiting.kind == "waiting"
    assert float(waiting.width[:-1]) > 5 * float(first.width[:-1])
    assert waiting.title.startswith("9 B: UPDATE")
    assert waiting.title.endswith("(4.20 ms)")
    assert all(float(bar.left[:-1]) + float(bar.width[:-1]) <= 100.01 for bar in bars)


def test_a_step_that_never_ended_reaches_to_the_end() -> None:
    run = Run((None, None), {}, (timed(get(0), 0.0, 2.0), timed(save(1), 1.0, None)))
    bar = list(Timeline(run, 2).bars)[1]
    assert float(bar.left[:-1]) + float(bar.width[:-1]) == 100
    assert "still running" in bar.title


def test_the_axis_has_round_times() -> None:
    def labels(seconds: float) -> list[str]:
        return [tick.text for tick in Timeline(Run((None,), {}, (timed(get(0), 7.0, 7.0 + seconds),)), 1).ticks]

    assert labels(0.0092) == ["0 ms", "2 ms", "4 ms", "6 ms", "8 ms"]
    assert labels(0.0003) == ["0.0 ms", "0.1 ms", "0.2 ms", "0.3 ms"]
    assert labels(31) == ["0 s", "10 s", "20 s", "30 s"]
    assert len(labels(0)) < 12
