"""What makes a call ready is a part of its run, and a call that waits for its turn has run nothing."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from aioconcurrent.sync import Outcomes, explore, options
from tests.project.databases import on
from tests.project.shop import readiness
from tests.project.shop.models import Account, Counter

from .catalogue import accounts


@pytest.fixture
def signing_in(database: str) -> Any:
    with options(prepare=partial(readiness.sign_in, database)):
        yield


def test_what_prepare_writes_is_there_for_every_run_and_put_back(database: str, signing_in: None) -> None:
    accounts(database)
    call = (readiness.deposit, {"using": database})

    def both_had_signed_in(outcomes: Outcomes) -> None:
        assert outcomes == [(2, "somebody"), (2, "somebody")]

    found = explore(call, call, check=both_had_signed_in)
    assert (found.verdict, found.exhaustive) == ("no race", True), found
    assert not Counter.objects.using(database).exists()
    assert Account.objects.using(database).get(pk=1).owner != "somebody"


@pytest.mark.parametrize("database", on("file", "postgresql"))
def test_calls_that_prepare_for_themselves_are_judged_as_others_are(database: str, signing_in: None) -> None:
    accounts(database)
    safe, racy = [(function, {"using": database}) for function in (readiness.deposit, readiness.deposit_badly)]
    for _ in range(2):
        found = explore(safe, safe)
        assert (found.verdict, found.exhaustive) == ("no race", True), found
        found = explore(racy, racy)
        assert found.counterexample, found
        assert found.counterexample.anomaly == "lost update"
        assert {step.operation.text.split()[0] for step in found.counterexample.steps} == {"SELECT", "UPDATE"}


@pytest.mark.parametrize("database", on("file", "postgresql"))
def test_one_after_another_nothing_of_a_call_runs_before_the_one_before_has_ended(
    database: str, tmp_path: Path
) -> None:
    accounts(database)
    path = tmp_path / "count"
    path.write_text("0")

    def both_were_counted(outcomes: Outcomes) -> None:
        count = path.read_text()
        path.write_text("0")
        assert count == "2"

    call = (readiness.count_in_file, {"path": path, "using": database})
    found = explore(call, call, check=both_were_counted, preemptions=0)
    assert found.verdict == "no race", found


@pytest.mark.parametrize("database", on("file"))
def test_a_call_that_has_begun_is_no_step_of_the_picture(database: str) -> None:
    accounts(database)
    call = (readiness.deposit_badly, {"using": database})
    found = explore(call, call)
    assert found.counterexample
    assert "start" not in {step.operation.kind for step in found.counterexample.steps}
    assert found.counterexample.token.startswith("aioc1:0.1:")
