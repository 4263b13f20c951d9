"""A few of the random programs that `hatch run fuzz:programs` compares on real databases."""

from __future__ import annotations

import pytest

from tests.project.databases import taking_turns

from .places import Place, at
from .real_programs import endings, fill

SEEDS = (9, 16)
PLACES = at("file", "postgresql-RC", "mysql-RC")


@pytest.mark.parametrize(("place", "seed"), taking_turns(PLACES, SEEDS), indirect=["place"])
def test_what_is_not_run_would_have_ended_no_other_way(seed: int, place: Place) -> None:
    fill(place.alias)
    expected = endings(seed, place, all_orders=True)
    assert expected is not None
    assert endings(seed, place, all_orders=False) == expected
