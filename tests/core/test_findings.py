"""What is told of races: what a user would see, which are one, and which come first."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from aioconcurrent.base.trace import Operation, Run, Step
from aioconcurrent.hunting.findings import ANSWER, DATA, ERROR, WRITE, Finding, Findings, cause_of, kind_of
from aioconcurrent.hunting.hunter import Hunter
from aioconcurrent.hunting.options import HuntOptions
from aioconcurrent.hunting.pairs import Unhunted
from aioconcurrent.hunting.report import known_causes, summary, table, write_baseline
from aioconcurrent.hunting.session import for_merging, merged
from aioconcurrent.results.exploration import Counterexample
from aioconcurrent.results.outcomes import Outcomes

if TYPE_CHECKING:
    from pathlib import Path

    from aioconcurrent.results.exploration import Effect

READ = "SELECT balance FROM account WHERE id = %s"
UPDATE = "UPDATE account SET balance = %s WHERE id = %s"


def example(*steps: tuple[int, str], anomaly: str = "lost update", line: int = 6) -> Counterexample:
    source = f"shop/services.py:{line} in withdraw: account.save()"
    done = tuple(Step(call, Operation("sql", sql), source, rowcount=1) for call, sql in steps)
    marked = frozenset(range(len(done)))
    return Counterexample(
        "aioc1:0.1", Outcomes([]), anomaly, "A read.", "Lock.", ("a", "b"), Run(steps=done), 1, marked
    )


def refused_lock(statement: str, vendor: str) -> Counterexample:
    error = "OperationalError: database is locked"
    found = example((0, READ), (1, statement), anomaly="unhandled conflict")
    last = replace(found.steps[1], operation=Operation("sql", statement, vendor=vendor), error=error)
    return replace(found, run=replace(found.run, steps=(found.steps[0], last)), effect="error")


def finding(cause: str = "1", kind: str = DATA, test: str = "test_one", name: str = "POST /") -> Finding:
    return Finding(("POST /1/", "POST /1/"), (name, name), "lost update", kind, "A.", "", test, "aioc1:0", cause)


@pytest.mark.parametrize(
    ("anomaly", "steps", "effect", "kind"),
    [
        ("lost update", [(0, READ), (1, UPDATE), (0, UPDATE)], "rows", DATA),
        ("phantom", [(0, READ), (1, UPDATE), (0, READ)], "rows", DATA),
        ("lost update", [(0, READ), (1, UPDATE), (0, UPDATE)], "answers", WRITE),
        ("lost update", [(0, READ), (1, UPDATE), (0, READ)], "answers", ANSWER),
        ("non-repeatable read", [(0, UPDATE), (1, UPDATE), (0, READ)], "answers", ANSWER),
        ("lost update", [(0, READ), (1, UPDATE), (0, UPDATE)], "error", ERROR),
    ],
)
def test_it_is_said_what_a_user_would_see(
    anomaly: str, steps: list[tuple[int, str]], effect: Effect, kind: str
) -> None:
    assert kind_of(replace(example(*steps, anomaly=anomaly), effect=effect)) == kind


@pytest.mark.parametrize(
    ("calls", "serial", "kind"),
    [
        (("POST /", "POST /"), (201, 201), ERROR),
        (("POST /", "POST /"), (201, 500), DATA),
        (("count()", "count()"), (201, 201), DATA),
    ],
)
def test_an_answer_by_which_the_server_says_that_it_failed_is_an_error(
    calls: tuple[str, ...], serial: tuple[int, int], kind: str
) -> None:
    found = example((0, UPDATE), (1, UPDATE))
    run = replace(found.run, outcomes=(201, 500))
    assert kind_of(replace(found, calls=calls, run=run, serial=(((0, 1), Run(serial)),))) == kind


def test_a_lock_that_sqlite_does_not_wait_for_is_one_cause_whatever_asks_for_it() -> None:
    other = "DELETE FROM log"
    one, two = (cause_of(refused_lock(each, "sqlite"), ["POST /"]) for each in (UPDATE, other))
    assert one == two
    one, two = (cause_of(refused_lock(each, "postgresql"), ["POST /"]) for each in (UPDATE, other))
    assert one != two


def test_a_cause_is_the_same_when_lines_have_moved() -> None:
    one, moved = example((0, READ), (1, UPDATE)), example((0, READ), (1, UPDATE), line=60)
    assert cause_of(one, ["POST /"]) == cause_of(moved, ["POST /"])


def test_other_statements_are_another_cause() -> None:
    assert cause_of(example((0, READ), (1, UPDATE)), ["POST /"]) != cause_of(example((0, READ), (1, READ)), ["POST /"])


def test_one_cause_in_two_tests_is_one_race_with_two_tests() -> None:
    found = Findings()
    assert found.add(finding(test="test_one"))
    assert not found.add(finding(test="test_two"))
    assert [each.tests for each in found.ranked()] == [("test_one", "test_two")]
    assert "test_one and 1 more" in "\n".join(table(found.ranked()))


def test_one_cause_by_which_two_other_actions_meet_is_told_of_both() -> None:
    found = Findings()
    for name in ("POST /", "PUT /", "POST /", "PUT /"):
        found.add(finding(name=name))
    assert [each.others for each in found.ranked()] == [("PUT / twice",)]
    assert "     also: PUT / twice" in table(found.ranked())


def test_rows_come_before_errors_and_errors_before_answers_and_known_ones_last() -> None:
    found = Findings()
    for number, kind in enumerate((ANSWER, ERROR, WRITE, DATA)):
        found.add(finding(str(number), kind))
    found.add(replace(finding("known", DATA), is_known=True))
    assert [each.cause for each in found.ranked()] == ["3", "2", "1", "0", "known"]


def test_reasons_that_differ_in_values_alone_are_counted_together_and_told_whole() -> None:
    unhunted = Unhunted()
    first = "inconclusive: it went wrong once: see aioc1:0.1:_t4u; read 'a' 2 times; one after the other, A returns 1"
    unhunted.add(first)
    unhunted.add("inconclusive: it went wrong once: see aioc1:1.0; read 'b' 3 times; one after the other, A raises E")
    unhunted.add("inconclusive: it went wrong twice")
    other = "inconclusive: nothing overlapped; one after the other, A returns 403"
    unhunted.add(other, 2)
    common = first.partition("; one after")[0]
    assert unhunted.counts == {common: 2, "inconclusive: it went wrong twice": 1, other: 2}


def test_work_that_nobody_follows_is_told_at_the_end_with_what_enqueues_it_in_any_process() -> None:
    one, other = Hunter(HuntOptions()), Hunter(HuntOptions())
    one.miss("enqueued and not followed: jobs", ["POST /1/", "POST /2/"])
    other.miss("enqueued and not followed: jobs", ["POST /2/", "POST /3/", "POST /4/"])
    merged(one, [for_merging(other)])
    assert summary(one)[-1] == "enqueued and not followed: jobs (POST /1/, POST /2/, POST /3/, ...)"


def test_a_finding_is_the_same_after_a_journey_as_plain_values() -> None:
    one = replace(finding(), tests=("test_one", "test_two"))
    assert Finding.of_dict(one.as_dict()) == one


def test_a_baseline_knows_the_causes_that_were_written_into_it(tmp_path: Path) -> None:
    path = tmp_path / "hunt.toml"
    assert known_causes(path) == frozenset()
    write_baseline(path, [finding("new")], {"old"})
    assert known_causes(path) == {"new", "old"}


@pytest.mark.parametrize("text", ["[[race]", "[[race]]\nwhat = 'no cause'\n", "race = 1\n"])
def test_a_file_that_is_no_baseline_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "hunt.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"hunt\.toml is not the baseline of a hunt"):
        known_causes(path)
