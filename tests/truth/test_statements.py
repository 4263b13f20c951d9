"""A statement in autocommit is not one moment: what it reads is chosen before others see what it changes."""

import pytest

from tests.explore.places import Place
from tests.project.office import statements
from tests.project.office.models import Post
from tests.truth.cases import NOT_ALL_SEEN, RACE, SAFE, Case, at_places, does, each, same, twice
from tests.truth.judge import fill

SERVERS = ("postgresql-RC", "mysql-RC")


def one_and_two(using: str) -> None:
    fill(using)
    for pk in (1, 2):
        Post.objects.using(using).filter(pk=pk).update(likes=pk)


ON_POSTGRESQL = {"postgresql-RC": RACE, "file": SAFE}
# MariaDB locks what the subquery finds, and then what it changes: between the two no order of statements comes.
LOCKING = {**ON_POSTGRESQL, "mysql-RC": NOT_ALL_SEEN}

RACES = {
    "a job that a subquery finds": Case(does("claim", "claim"), LOCKING),
    "a job that a common table expression finds": Case(
        each(statements.claim_with_cte, who=("a", "b")), {"postgresql-RC": RACE}
    ),
    "a job that another table in FROM finds": Case(each(statements.claim_from, who=("a", "b")), ON_POSTGRESQL),
    "a row where there is none": Case(same("bill_once"), {"*": RACE, "file": SAFE}),
    "all rows but the last": Case(does("drop_unless_last:1", "drop_unless_last:2"), LOCKING),
    "the next number": Case(same("bill_by_subquery"), LOCKING),
    "a value of another row": Case(each(statements.raise_over_other, pk=(1, 2)), ON_POSTGRESQL),
    "rows found by what another changes": Case(
        [(statements.like_all, {}), (statements.close_twos, {})], ON_POSTGRESQL, one_and_two
    ),
    "rows listed in opposite orders": Case(
        each(statements.use_handles, names=(["a", "b"], ["b", "a"])),
        {"postgresql-RC": NOT_ALL_SEEN, "mysql-RC": NOT_ALL_SEEN, "file": SAFE},
    ),
    "copies of all rows": Case(twice(statements.copy_replies), ON_POSTGRESQL),
}
SAFE_ONES = {
    "a job that is known": Case(each(statements.claim_this, who=("a", "b")), SAFE),
    "a job that a locking subquery finds": Case(
        each(statements.claim_skipping, who=("a", "b")), {"postgresql-RC": SAFE}
    ),
    "a row that a unique key allows once": Case(twice(statements.take_once), SAFE),
    "a row that is listed alone": Case(each(statements.use_handles, names=(["a"], ["a"])), SAFE),
    "a number that is raised": Case(same("add"), SAFE),
    "a number that is raised while it is low": Case(same("add_if_few", calls=3), SAFE),
    "all numbers": Case(twice(statements.like_all), SAFE),
    "rows found by what nobody changes": Case([(statements.close_lonely, {}), *same("touch:2", 1)], SAFE),
}


@pytest.mark.parametrize(("case", "place"), at_places(RACES | SAFE_ONES), indirect=["place"])
def test_a_statement_has_a_beginning_and_an_end(case: Case, place: Place) -> None:
    case.check(place)


@pytest.mark.parametrize(
    ("case", "place"),
    at_places({"one row by its key": Case(same("add"), dict.fromkeys(SERVERS, SAFE))}),
    indirect=["place"],
)
def test_a_statement_that_reads_nothing_else_costs_no_step_more(case: Case, place: Place) -> None:
    assert case.check(place).schedules_run <= 3
