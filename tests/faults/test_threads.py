"""Two threads of one process that race at the same time."""

from collections.abc import Callable
from pathlib import Path

import pytest

from aioconcurrent import Outcomes
from aioconcurrent.engine.fork import close_template
from aioconcurrent.sync import call_concurrently, options
from tests.faults import calls
from tests.faults.projects import Project
from tests.faults.races import at_once
from tests.project.databases import on
from tests.project.shop.calls import increment_atomically
from tests.project.shop.models import Counter


@pytest.mark.parametrize("database", on("default", "postgresql"))
def test_two_threads_race_on_one_database(database: str) -> None:
    counters = [Counter.objects.using(database).create(name=name) for name in ("clicks", "views")]

    def race(number: int) -> list[Outcomes]:
        pk = counters[number].pk
        return [call_concurrently(3, increment_atomically, pk, using=database) for _ in range(3)]

    for outcomes in at_once(race):
        assert outcomes == [[None, None, None]] * 3
    for counter in counters:
        counter.refresh_from_db()
        assert counter.value == 9


def test_two_threads_are_in_their_races_at_the_same_time(start_method: str, tmp_path: Path) -> None:
    told = Project(tmp_path).run(  # which has no database in memory, that would be lent to one race at a time
        """
        import json
        from pathlib import Path
        from aioconcurrent.sync import call_concurrently
        from tests.faults import calls
        from tests.faults.races import at_once
        print(json.dumps(at_once(lambda number: call_concurrently(2, calls.meet, Path("signed-in"), number))))
        """
    )
    assert told == [[True, True], [True, True]]


def test_two_threads_share_a_template_that_is_not_up_yet() -> None:
    close_template()
    with options(start_method="fork"):
        pids = at_once(lambda _: call_concurrently(2, calls.get_pids))
    templates = {template for outcomes in pids for _, template in outcomes.values}
    wrappers = {wrapper for outcomes in pids for wrapper, _ in outcomes.values}
    assert len(templates) == 1
    assert len(wrappers) == 4


def test_a_thread_whose_race_fails_does_not_disturb_the_other(start_method: str) -> None:
    functions: list[Callable[[], object]] = [calls.die_at_once, calls.answer]
    failed, worked = at_once(lambda number: call_concurrently(2, functions[number]))
    assert len(failed.errors) == 2
    assert worked == [42, 42]


def test_a_thread_that_races_and_ends_leaves_its_template_to_the_next() -> None:
    with options(start_method="fork"):
        pids = [at_once(lambda _: call_concurrently(1, calls.get_pids)) for _ in range(2)]
    assert len({template for both in pids for outcomes in both for _, template in outcomes.values}) == 1
