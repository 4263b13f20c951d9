"""What passes the gate of a stepped wrapper: coroutines, threads, and points of the application."""

from pathlib import Path

import pytest

from tests.databases.stepping import stepped
from tests.project import cached, coroutines
from tests.project.databases import on
from tests.project.scripts import output_of
from tests.project.shop.models import Counter


@pytest.fixture
def pk(database: str) -> int:
    return Counter.objects.using(database).create(name="n").pk


def test_the_async_orm_is_stepped(database: str, pk: int) -> None:
    call = (coroutines.increment, {"pk": pk, "using": database})
    result = stepped(call, call, order=[0, 1, 0, 1], database=database)
    assert result.outcomes == [1, 1]
    assert [(step.call, step.operation.text.split()[0]) for step in result.steps[:3]] == [
        (0, "SELECT"), (1, "SELECT"), (0, "UPDATE")
    ]  # fmt: skip


def test_the_async_orm_is_told_with_the_line_that_awaits_it(database: str, pk: int) -> None:
    result = stepped((coroutines.increment, {"pk": pk, "using": database}), database=database)
    assert result.steps[0].source is not None
    assert result.steps[0].source.startswith("project/coroutines.py:")
    assert result.steps[0].source.endswith(" in increment: counter = await Counter.objects.using(using).aget(pk=pk)")


@pytest.mark.parametrize("database", on("file", "postgresql", "mysql"))
def test_transactions_of_a_coroutine_wait_for_each_other(database: str, pk: int) -> None:
    call = (coroutines.increment_in_transaction, {"pk": pk, "using": database})
    result = stepped(call, call, order=[0, 0, 1, 1], database=database)
    if database == "file":  # SQLite, which has no FOR UPDATE, refuses one of them
        assert sorted(map(type, result.outcomes), key=repr) != [int, int]
    else:
        assert result.outcomes == [1, 2]
        assert [step.waited_for for step in result.steps if step.call == 1 and step.waited_for] == [frozenset({0})]


def test_queries_gathered_by_a_coroutine_pass_one_at_a_time(database: str, pk: int) -> None:
    result = stepped((coroutines.look_twice_at_once, {"pk": pk, "using": database}), database=database)
    assert result.outcomes == [[0, 0]]
    assert result.texts() == ["SELECT", "SELECT"]


@pytest.mark.parametrize("database", on("file", "postgresql", "mysql"))
@pytest.mark.parametrize("function", [coroutines.look_from_two_threads, coroutines.look_in_threads])
def test_threads_of_a_call_pass_one_at_a_time(database: str, pk: int, function: object) -> None:
    result = stepped((function, {"pk": pk, "using": database}), database=database)
    assert set(result.outcomes[0]) == {0}
    assert result.texts().count("SELECT") == len(result.outcomes[0])


@pytest.mark.parametrize("database", on("file", "postgresql", "mysql"))
def test_a_call_may_end_before_its_threads(database: str, pk: int) -> None:
    assert stepped((coroutines.leave_a_thread_behind, {"pk": pk, "using": database}), database=database).outcomes == [
        "done"
    ]


def test_points_of_the_application_are_steps() -> None:
    result = stepped((cached.stop_at, ("one", "two"), {}), (cached.stop_at, ("three",), {}), order=[0, 1, 0])
    assert [(step.call, step.operation.kind, step.operation.text) for step in result.steps] == [
        (0, "step", "one"), (1, "step", "three"), (0, "step", "two")
    ]  # fmt: skip
    assert result.outcomes == ["two", "three"]


def test_points_of_the_application_are_steps_without_django_too(tmp_path: Path) -> None:
    script = """
import sys
from aioconcurrent import step
from tests.databases.stepping import stepped

def stop(name):
    step(name)

if __name__ == "__main__":
    print(stepped((stop, ("here",), {}), (stop, ("there",), {}), order=[1, 0]).texts())
"""
    assert output_of(script, tmp_path) == "['step there', 'step here']\n"
