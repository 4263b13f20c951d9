"""Schedules as values: tokens, what follows where they end, replay, shrinking."""

from __future__ import annotations

import pickle
from random import Random

import pytest

from aioconcurrent.base.trace import Operation, Step
from aioconcurrent.exceptions import TokenError
from aioconcurrent.exploring.orders.schedule import (
    Departure,
    Replay,
    Schedule,
    is_serial,
    preemptions,
    shrinks,
)
from aioconcurrent.exploring.orders.standings import Decision
from tests.explore import scenarios as s
from tests.explore.workload import POSTGRESQL, Client, Outcome, Program, Simulation, Steps, explore


@pytest.mark.parametrize(
    ("choices", "token"),
    [
        ((), "aioc1:"),
        ((0, 0, 1, 1, 0, 1), "aioc1:0.0.1.1.0.1"),
        ((0,) * 10 + (1, 0, 0, 0), "aioc1:0*10.1.0*3"),
        ((12, 12, 3), "aioc1:12*2.3"),
        ((12, 12, 12), "aioc1:12*3"),
    ],
)
def test_a_token_names_the_choices_run_length_coded_where_shorter(choices: tuple[int, ...], token: str) -> None:
    assert Schedule(choices).token == token
    assert Schedule.from_token(token) == Schedule(choices)


@pytest.mark.parametrize("seed", range(50))
def test_a_token_reads_back_as_what_it_was_made_from(seed: int) -> None:
    random = Random(seed)
    choices = tuple(random.choice((0, 0, 0, 1, 2, 11)) for _ in range(random.randrange(60)))
    marks = "".join(random.choices("aZ09_-", k=random.randrange(20))) + random.choice(("", "~"))
    schedule = Schedule(choices, marks, random.choice(((), (0, 2, 11))))
    assert Schedule.from_token(f"  {schedule.token}\n") == schedule


@pytest.mark.parametrize(
    ("token", "fault"),
    [
        ("", "does not begin with aioc1:"),
        ("0.1.0", "does not begin with aioc1:"),
        ("aioc2:0.1", "does not begin with aioc1:"),
        ("aioc1", "two to five parts"),
        ("aioc1:0:a:1:0:b", "two to five parts"),
        ("aioc1:0:a:b", "'b' should be the number of a call"),
        ("aioc1:0:a~b", "other characters"),
        ("aioc1:0.x", "'x' should be the number of a call"),
        ("aioc1:0..1", "'' should be the number of a call"),
        ("aioc1:-1", "'-1' should be"),
        ("aioc1:01", "'01' should be"),
        ("aioc1:0*0", "'0*0' should be"),
        ("aioc1:0*9999999", "should be"),
        ("aioc1:0.1:a b", "other characters"),
    ],
)
def test_nonsense_is_refused_with_what_is_wrong(token: str, fault: str) -> None:
    with pytest.raises(TokenError) as caught:
        Schedule.from_token(token)
    assert isinstance(caught.value, ValueError)
    assert fault in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def steps(choices: str, enabled: str = "01") -> list[Step]:
    return [Step(int(choice), Operation("sql", "SELECT 1"), enabled=frozenset(map(int, enabled))) for choice in choices]


def test_a_switch_away_from_a_call_that_could_go_on_is_a_preemption() -> None:
    ended = Step(1, Operation("commit"), enabled=frozenset({1}))
    assert preemptions(steps("0011")) == 1
    assert preemptions(steps("0101")) == 3
    assert preemptions([*steps("00"), ended]) == 0
    assert preemptions([]) == 0


def test_a_serial_order_has_each_call_in_one_piece() -> None:
    assert is_serial(steps("0011"))
    assert not is_serial(steps("0010"))


def test_a_schedule_leaves_out_what_would_happen_anyway() -> None:
    assert Schedule.of(steps("0000")).choices == ()
    assert Schedule.of(steps("0111")).choices == (0, 1)
    assert Schedule.of(steps("1000")).choices == (1, 0)


PROGRAMS = [s.lost_update_in_atomic, s.get_or_create, s.opposite_order]


def replay(schedule: Schedule, program: Program, calls: int = 2) -> tuple[Replay, Outcome]:
    simulation, replayed = Simulation(s.twice(program, s.SLOTS, calls), POSTGRESQL), Replay(schedule)
    while (worker := replayed.choose(simulation.decision())) is not None:
        simulation.step(worker)
    return replayed, simulation.end()


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_token_of_a_run_repeats_it(program: Program) -> None:
    found = explore(s.twice(program, s.SLOTS), POSTGRESQL)
    for run, outcome in zip(found.log, found.outcomes, strict=True):
        replayed, again = replay(Schedule.from_token(Schedule.of(run.steps).token), program)
        assert replayed.departure is None
        assert [step.call for step in replayed.steps] == [step.call for step in run.steps]
        assert again == outcome


def test_choices_alone_are_enough_to_repeat_a_run() -> None:
    replayed, _ = replay(Schedule.from_token("aioc1:0.1"), s.lost_update)
    assert [step.call for step in replayed.steps] == [0, 1, 1, 0]
    assert replayed.departure is None


def departure(change: Program) -> Departure | None:
    """Where a replay of "0.1.1" leaves the schedule once `lost_update` has become `change`."""
    original, _ = replay(Schedule((0, 1, 1)), s.lost_update)
    return replay(Schedule.of(original.steps), change)[0].departure


def test_a_replay_says_at_which_step_the_program_has_changed() -> None:
    found = departure(s.locked_update)
    assert found is not None
    assert (found.number, found.worker) == (0, 0)
    assert found.found is not None
    assert "FOR UPDATE" in found.found.text


def test_a_replay_says_when_the_program_ends_early() -> None:
    def shorter(c: Client) -> Steps:
        yield c.select("counter", id=1)

    assert departure(shorter) == Departure(2, 1, None)


def test_a_replay_says_when_the_program_goes_on() -> None:
    def longer(c: Client) -> Steps:
        yield from s.lost_update(c)
        if c.index == 0:
            yield c.select("slot")

    found = departure(longer)
    assert found is not None
    assert found.number == 4


def test_a_replay_says_when_a_call_cannot_be_let_go() -> None:
    replayed, _ = replay(Schedule((0, 1, 1)), s.locked_update)
    assert replayed.departure == Departure(2, 1, None)
    assert {step.call for step in replayed.steps} == {0, 1}


def test_a_replay_of_other_calls_ends_all_the_same() -> None:
    replayed, _ = replay(Schedule((7, 0)), s.lost_update)
    assert replayed.departure == Departure(0, 7, None)
    assert len(replayed.steps) == 4


def test_savepoint_and_cursor_names_are_not_what_a_program_is_known_by() -> None:
    def marks(thread: int) -> str:
        texts = (f'SAVEPOINT "s{thread}_x1"', f'FETCH 10 FROM "_django_curs_{thread}_sync_1"')
        return Schedule.of([Step(0, Operation("sql", text), enabled=frozenset({0})) for text in texts]).marks

    assert marks(140123) == marks(9)


def test_parameters_are_not_what_a_program_is_known_by() -> None:
    def marks(value: int) -> str:
        return Schedule.of([Step(0, Operation("sql", "SELECT %s", (value,)), enabled=frozenset({0}))]).marks

    assert marks(1) == marks(2)


def test_a_change_spoils_every_later_mark() -> None:
    original = [Step(0, Operation("sql", f"SELECT {number}"), enabled=frozenset({0})) for number in range(40)]
    changed = [Step(0, Operation("sql", "SELECT x"), enabled=frozenset({0})), *original[1:]]
    same = sum(a == b for a, b in zip(Schedule.of(original).marks, Schedule.of(changed).marks, strict=True))
    assert same < 6


def test_a_token_of_some_calls_names_them() -> None:
    assert Schedule((1, 3), "kT3w", (1, 3)).token == "aioc1:1.3:kT3w:1.3"


def test_a_token_of_tasks_names_the_calls_that_enqueue_them() -> None:
    schedule = Schedule((0, 2, 0), "kT3", enqueuers=(0, 0))
    assert schedule.token == "aioc1:0.2.0:kT3::0.0"
    assert Schedule.from_token(schedule.token) == schedule
    assert Schedule((1, 3), calls=(1, 3)).token == "aioc1:1.3::1.3"


def test_a_replay_that_goes_on_for_ever_follows_an_endless_schedule() -> None:
    def forever(c: Client) -> Steps:
        while True:
            yield c.select("counter", id=1)

    def forty_steps(schedule: Schedule) -> Replay:
        replayed, simulation = Replay(schedule), Simulation(s.twice(forever, s.SLOTS, 1), POSTGRESQL)
        for _ in range(40):
            worker = replayed.choose(simulation.decision())
            assert worker is not None
            simulation.step(worker)
        return replayed

    first = forty_steps(Schedule((0,)))
    assert forty_steps(Schedule.of(first.steps[:10], is_endless=True)).departure is None
    assert forty_steps(Schedule.of(first.steps[:10])).departure is not None


def test_nobody_ready_is_the_end_of_a_replay() -> None:
    assert Replay(Schedule((0,))).choose(Decision({}, frozenset({0}))) is None


def test_shrinking_drops_the_tail_and_merges_switches() -> None:
    assert list(shrinks((0, 1, 0))) == [(0, 1), (0, 0, 1), (1, 0, 0)]
    assert list(shrinks(())) == []


@pytest.mark.parametrize("seed", range(20))
def test_shrinking_comes_to_an_end(seed: int) -> None:
    random = Random(seed)
    choices = tuple(random.choices((0, 1, 2), k=12))
    for _ in range(200):
        smaller = list(shrinks(choices))
        if not smaller:
            break
        choices = random.choice(smaller)
    assert len(choices) <= 1 or not list(shrinks(choices))


def test_a_shrunk_counterexample_still_fails() -> None:
    def fails(choices: tuple[int, ...]) -> bool:
        _, outcome = replay(Schedule(choices), s.lost_update_with_log)
        return "'n': 1}" in dict(outcome)["counter"]

    choices: tuple[int, ...] = (0, 1, 0, 1, 1, 0, 1, 0)
    assert fails(choices)
    while smaller := next((candidate for candidate in shrinks(choices) if fails(candidate)), None):
        choices = smaller
    replayed, _ = replay(Schedule(choices), s.lost_update_with_log)
    assert preemptions(replayed.steps) == 1
