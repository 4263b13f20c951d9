"""What is told of races: what a user would see, which are one, and which come first."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from aioconcurrent._exploration import Counterexample
from aioconcurrent._outcomes import Outcomes
from aioconcurrent._trace import Operation, Run, Step
from aioconcurrent.hunting.findings import ANSWER, DATA, ERROR, Finding, Findings, cause_of, kind_of
from aioconcurrent.hunting.telling import known_causes, table, write_baseline

if TYPE_CHECKING:
    from pathlib import Path

READ = "SELECT balance FROM account WHERE id = %s"
WRITE = "UPDATE account SET balance = %s WHERE id = %s"


def example(*steps: tuple[int, str], anomaly: str = "lost update", line: int = 6) -> Counterexample:
    source = f"shop/services.py:{line} in withdraw: account.save()"
    done = tuple(Step(call, Operation("sql", sql), source, rowcount=1) for call, sql in steps)
    marked = frozenset(range(len(done)))
    return Counterexample(
        "aioc1:0.1", Outcomes([]), anomaly, "A read.", "Lock.", ("a", "b"), Run(steps=done), 1, marked
    )


def finding(cause: str = "1", kind: str = DATA, test: str = "test_one") -> Finding:
    return Finding(
        ("POST /1/", "POST /1/"), ("POST /", "POST /"), "lost update", kind, "A.", "", test, "aioc1:0", cause
    )


@pytest.mark.parametrize(
    ("anomaly", "steps", "kind"),
    [
        ("lost update", [(0, READ), (1, WRITE), (0, WRITE)], DATA),
        ("phantom", [(0, READ), (1, WRITE), (0, READ)], ANSWER),
        ("stale read", [(0, READ), (1, WRITE), (0, WRITE)], DATA),
        ("unhandled conflict", [(0, WRITE), (1, WRITE)], ERROR),
        ("deadlock", [(0, WRITE), (1, WRITE)], ERROR),
    ],
)
def test_it_is_said_what_a_user_would_see(anomaly: str, steps: list[tuple[int, str]], kind: str) -> None:
    assert kind_of(example(*steps, anomaly=anomaly)) == kind


def test_a_cause_is_the_same_when_lines_have_moved() -> None:
    one, moved = example((0, READ), (1, WRITE)), example((0, READ), (1, WRITE), line=60)
    assert cause_of(one, ["POST /"]) == cause_of(moved, ["POST /"])


def test_other_statements_are_another_cause() -> None:
    assert cause_of(example((0, READ), (1, WRITE)), ["POST /"]) != cause_of(example((0, READ), (1, READ)), ["POST /"])


def test_one_cause_in_two_tests_is_one_race_with_two_tests() -> None:
    found = Findings()
    assert found.add(finding(test="test_one"))
    assert not found.add(finding(test="test_two"))
    assert [each.tests for each in found.ranked()] == [("test_one", "test_two")]
    assert "test_one and 1 more" in "\n".join(table(found.ranked()))


def test_rows_come_before_errors_and_errors_before_answers_and_known_ones_last() -> None:
    found = Findings()
    for number, kind in enumerate((ANSWER, ERROR, DATA)):
        found.add(finding(str(number), kind))
    found.add(replace(finding("known", DATA), is_known=True))
    assert [each.cause for each in found.ranked()] == ["2", "1", "0", "known"]


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
    with pytest.raises(ValueError, match=r"hunt\.toml is no baseline of a hunt"):
        known_causes(path)
