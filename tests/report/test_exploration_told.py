"""What exploring finds, told by a page."""

from __future__ import annotations

import pytest

from aioconcurrent.report.page import as_page
from aioconcurrent.results.exploration import story_of_exploration
from aioconcurrent.sync import explore
from tests.project.databases import on
from tests.project.shop import calls
from tests.project.shop.models import Counter


@pytest.mark.parametrize("database", on("default"))
def test_a_race_that_was_found_is_told_with_its_code(database: str) -> None:
    counter = Counter.objects.using(database).create(name="clicks")
    call = (calls.increment, {"pk": counter.pk, "using": database})
    exploration = explore(call, call)
    found = exploration.counterexample
    assert found is not None
    story = story_of_exploration(exploration, "clicks are counted", "tests/t.py::test_clicks")
    page = as_page(story)
    assert f"replay(&quot;{found.token}&quot;, ...)" in page
    assert "counter.value" in page
    assert 'class="here"' in page


@pytest.mark.parametrize("database", on("default"))
def test_where_no_race_was_found_the_verdict_is_told(database: str) -> None:
    counter = Counter.objects.using(database).create(name="clicks")
    call = (calls.increment_atomically, {"pk": counter.pk, "using": database})
    exploration = explore(call, call)
    story = story_of_exploration(exploration, "clicks are counted")
    assert exploration.reason in as_page(story).replace("&#x27;", "'")
    assert "returns" not in as_page(story).split("<h2")[-1]
