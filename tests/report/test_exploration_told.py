"""What exploring finds, told by page and terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from aioconcurrent.report.page import as_page
from aioconcurrent.report.story import Story
from aioconcurrent.report.terminal import print_story
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
    story = Story.of_exploration(exploration, "clicks are counted", "tests/t.py::test_clicks")
    page = as_page(story)
    assert f"replay(&quot;{found.token}&quot;, ...)" in page
    assert "counter.value" in page
    assert 'class="here"' in page
    file = io.StringIO()
    print_story(story, Console(file=file, width=120))
    assert file.getvalue().startswith(f"race: {found.anomaly}\ntests/t.py::test_clicks\n")


@pytest.mark.parametrize("database", on("default"))
def test_where_no_race_was_found_the_verdict_is_told(database: str) -> None:
    counter = Counter.objects.using(database).create(name="clicks")
    call = (calls.increment_atomically, {"pk": counter.pk, "using": database})
    exploration = explore(call, call)
    story = Story.of_exploration(exploration, "clicks are counted")
    assert exploration.reason in as_page(story).replace("&#x27;", "'")
    assert "returns" not in as_page(story).split("<h2")[-1]
    file = io.StringIO()
    print_story(story, Console(file=file, width=500))
    assert file.getvalue().splitlines()[:3] == ["no race", "clicks are counted", exploration.reason]
