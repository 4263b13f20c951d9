"""Exploring real functions, in real processes, on real databases."""

from aioconcurrent.sync import explore
from tests.project.shop import calls
from tests.project.shop.models import Counter


def test_a_lost_update_is_found(database: str) -> None:
    counter = Counter.objects.using(database).create(name="clicks")
    call = (calls.increment, {"pk": counter.pk, "using": database})
    found = explore(call, call)
    print(found)
    assert found.verdict == "race"


def test_an_update_in_the_database_is_no_race(database: str) -> None:
    counter = Counter.objects.using(database).create(name="clicks")
    call = (calls.increment_atomically, {"pk": counter.pk, "using": database})
    found = explore(call, call)
    print(found)
    assert (found.verdict, found.exhaustive) == ("no race", True)
