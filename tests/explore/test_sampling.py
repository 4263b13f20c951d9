"""Orders drawn at random: when they are, what is said of them, and that a race among them is one like any other."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import pytest
from django.db.models import F

from aioconcurrent import Exploration, InconclusiveError, options
from aioconcurrent.sync import explore, replay
from tests.project.databases import on
from tests.project.shop.models import Account

from .catalogue import accounts


def add(times: int, using: str) -> None:
    for _ in range(times):
        Account.objects.using(using).filter(pk=1).update(balance=F("balance") + 1)


def change_both(using: str) -> None:
    for pk in (1, 2):
        Account.objects.using(using).filter(pk=pk).update(balance=0)


def sees_half_of_it(using: str) -> bool:
    return [Account.objects.using(using).get(pk=pk).balance for pk in (1, 1, 2)] == [100, 0, 200]


def torn(using: str) -> list[Callable[[], object]]:
    """Calls that go wrong where the one that looks is stopped twice."""
    return [partial(sees_half_of_it, using), partial(change_both, using)]


def told(found: Exploration) -> object:
    example = found.counterexample
    return found.verdict, found.reason, found.schedules_run, example and example.token, texts(found)


def texts(found: Exploration) -> list[tuple[int, str]]:
    steps = found.counterexample.steps if found.counterexample else ()
    return [(step.call, step.operation.text) for step in steps]


def additions(times: int, using: str) -> list[Callable[[], object]]:
    return [partial(add, times, using), partial(add, times + 1, using)]


@pytest.mark.parametrize("database", on("default", "postgresql"))
def test_the_last_third_of_a_budget_that_will_not_suffice_is_for_orders_drawn_at_random(database: str) -> None:
    accounts(database)
    found = explore(*additions(8, database), max_schedules=6, max_seconds=600)
    assert (found.verdict, found.schedules_run) == ("inconclusive", 6)
    assert re.match(
        r"the budget of 6 schedules is spent; no schedule so far goes wrong: of the orders, all with no preemption, "
        r"\d of \d+ or more with 1 and \d drawn at random were run; "
        r"a race of depth 2 would have been met with a probability of \d+% or more",
        found.reason,
    ), found.reason
    with pytest.raises(InconclusiveError, match="drawn at random"):
        found.assert_no_race()


@pytest.mark.parametrize("database", on("default"))
@pytest.mark.parametrize(("times", "preemptions"), [(3, None), (8, 1)])
def test_nothing_is_drawn_where_the_budget_may_suffice_or_preemptions_are_limited(
    times: int, preemptions: int | None, database: str
) -> None:
    accounts(database)
    found = explore(*additions(times, database), max_schedules=6, max_seconds=600, preemptions=preemptions)
    assert found.schedules_run == 6
    assert "drawn" not in found.reason


@pytest.mark.parametrize("database", on("default", "postgresql"))
def test_a_race_in_an_order_that_was_drawn_is_confirmed_and_replayed(database: str) -> None:
    accounts(database)
    assert explore(*torn(database), preemptions=1).verdict == "no race"
    found = explore(*torn(database), strategy="sample")
    assert found.counterexample, found
    assert found.counterexample.preemptions == 2
    again = replay(found.counterexample.token, *torn(database))
    assert again.counterexample, again
    assert texts(again) == texts(found)


@pytest.mark.parametrize("database", on("postgresql"))
def test_the_same_seed_draws_the_same_orders_with_any_number_of_workers(database: str) -> None:
    accounts(database)

    def drawn(seed: int, workers: int = 1) -> object:
        with options(strategy="sample", seed=seed, workers=workers):
            return told(explore(*torn(database)))

    found = drawn(1)
    assert drawn(1) == found
    assert drawn(1, workers=2) == found


@pytest.mark.parametrize("database", on("default"))
def test_when_chance_gives_no_new_order_the_verdict_is_that_of_a_search(database: str) -> None:
    accounts(database)
    calls = additions(2, database)
    searched, sampled = (explore(*calls, strategy=strategy) for strategy in ("search", "sample"))
    assert sampled.exhaustive
    assert told(sampled) == told(searched)


@pytest.mark.parametrize("database", on("default"))
def test_however_many_orders_are_drawn_a_budget_that_is_spent_leaves_the_question_open(database: str) -> None:
    accounts(database)
    found = explore(*additions(8, database), strategy="sample", max_schedules=8, max_seconds=600)
    assert (found.verdict, found.exhaustive, found.preemptions) == ("inconclusive", False, None)
    assert re.search(r" and [45] drawn at random", found.reason)
