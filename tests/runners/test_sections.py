"""What a failed test shows of its race."""

import html
import json
import re

import pytest

from tests.runners.sites import Site

RACES = """
import gc
from aioconcurrent import Outcomes

def shout(word):
    print(word.upper())
    return len(word)

def race():
    call_concurrently(2, shout, "one")
    call_concurrently(2, shout, "three")

def test_that_fails():
    race()
    assert False

def test_that_passes():
    race()

def test_after_the_race_of_another():
    gc.collect()
    assert not [kept for kept in gc.get_objects() if isinstance(kept, Outcomes)]
    assert "no race here" == ""

@pytest.fixture
def raced():
    race()
    raise LookupError

def test_with_fixture(raced): ...
"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What one run shows of each test."""
    with Site(tmp_path_factory.mktemp("sections")) as site:
        site.write_tests(RACES)
        assert site.pytest("-rA") == 1
    parts = re.split(r"^_+ (?:ERROR at setup of )?(test_\w+) _+$|^=+ ", site.text, flags=re.MULTILINE)
    return {name: text for name, text in zip(parts[1::2], parts[2::2], strict=True) if name}


def test_a_failed_test_shows_its_last_race_and_what_each_of_the_calls_printed(shown: dict[str, str]) -> None:
    before, _, race = shown["test_that_fails"].partition("- Last concurrent calls -")
    assert "call 1 of 2, test_shop.shout('three') [pid " in race
    assert "call 2 of 2, test_shop.shout('three') [pid " in race
    assert "Output of call 2 of 2, test_shop.shout('three') -" in race
    assert "THREE\n" in race
    assert "'one'" not in before


def test_a_test_that_passes_shows_nothing_of_its_races(shown: dict[str, str]) -> None:
    assert "Last concurrent calls" not in shown["test_that_passes"]


def test_a_failed_test_shows_nothing_of_the_races_of_others(shown: dict[str, str]) -> None:
    assert "Last concurrent calls" not in shown["test_after_the_race_of_another"]


def test_nothing_of_a_race_is_kept_alive_when_its_test_is_over(shown: dict[str, str]) -> None:
    assert "AssertionError: assert 'no race here' == ''" in shown["test_after_the_race_of_another"]


def test_the_race_of_a_fixture_that_fails_is_shown(shown: dict[str, str]) -> None:
    assert "- Last concurrent calls -" in shown["test_with_fixture"]


def test_a_folder_for_reports_records_the_races_and_gets_a_page_of_a_failed_test(site: Site) -> None:
    site.write_tests("""
        @on_database
        def test_race():
            counter = Counter.objects.create(name="clicks")
            call_concurrently(2, increment, counter.pk)
            assert False
    """)
    assert site.pytest("--aioconcurrent-report", "pages") == 1
    shown = site.text.split("- Their lanes -")[1]
    assert "UPDATE shop_counter" in shown.split("- Page -")[0]
    page, index = sorted((site.folder / "pages").glob("*.html"), key=lambda path: path.name == "index.html")
    assert f"{page}\n" in shown
    assert f"Pages of races: {index}" in shown
    assert page.name in index.read_text()
    assert "tests.project.shop.calls.increment" in page.read_text()


def test_beside_each_page_stands_the_same_as_data(site: Site) -> None:
    site.write_tests(TOLD)
    assert site.pytest("--aioconcurrent-report", "pages") == 1
    files = {file.name for file in (site.folder / "pages").iterdir()}
    of_race, of_exploration = sorted(name.removesuffix(".json") for name in files if name.endswith(".json"))
    assert files == {f"{name}.{kind}" for name in (of_race, of_exploration) for kind in ("html", "json")} | {
        "index.html"
    }
    raced, explored = (
        json.loads((site.folder / "pages" / f"{name}.json").read_text()) for name in (of_race, of_exploration)
    )
    assert [call["ended"] for call in raced["calls"]] == ["returned", "returned"]
    assert any(step["text"].startswith("UPDATE") and step["ended"] > step["started"] for step in raced["steps"])
    assert explored["verdict"] == "race"
    assert explored == json.loads((site.folder / "told.json").read_text())
    copied = html.unescape((site.folder / "pages" / f"{of_exploration}.html").read_text())
    text = copied.partition('aria-label="A test of this race">')[2].partition("</pre>")[0]
    (site.folder / "test_shop.py").unlink()
    (site.folder / "test_copied.py").write_text(text)
    assert site.pytest("--aioconcurrent-report", "pages") == 1
    assert "RaceFound: race" in site.text
    site.write_tests(TOLD.replace("call_concurrently(2, increment, counter.pk)\n    assert False", ""))
    assert site.pytest("--aioconcurrent-report", "pages", "test_shop.py::test_a_race") == 0
    assert f"{of_race}.html" not in {file.name for file in (site.folder / "pages").iterdir()}


LONG = """
from tests.project.shop.models import Account, Doctor, Show, Ticket, Voucher

def work(pk):
    for model in (Account, Doctor, Show, Ticket, Voucher):
        model.objects.filter(pk=pk).exists()
    increment(pk)

@on_database
def test_race():
    counter = Counter.objects.create(name="clicks")
    explore((work, {"pk": counter.pk}), (work, {"pk": counter.pk})).assert_no_race()
"""
TOLD = """
@on_database
def test_a_race():
    counter = Counter.objects.create(name="clicks")
    call_concurrently(2, increment, counter.pk)
    assert False

@on_database
def test_an_exploration():
    counter = Counter.objects.create(name="clicks")
    found = explore((increment, {"pk": counter.pk}), (increment, {"pk": counter.pk}))
    (HERE / "told.json").write_text(found.to_json())
    found.assert_no_race()
"""
FOLDED = "... 4 steps that touch nothing of the other call's"
FOLDED_ROWS = ("FROM shop_doctor", "FROM shop_show", "FROM shop_ticket", "FROM shop_voucher")


def test_the_story_of_a_race_is_folded_and_one_option_shows_all_of_it(site: Site) -> None:
    site.write_tests(LONG)
    assert site.pytest() == 1
    told = re.sub(r"(^E|[\s│])+", " ", site.text, flags=re.MULTILINE)
    assert told.count(FOLDED) == 2, site.text
    assert not any(row in told for row in FOLDED_ROWS)
    assert "- All steps -" not in site.text
    assert site.pytest("--aioconcurrent-unfolded") == 1
    all_steps = site.text.split("- All steps -")[1].split("= short test")[0]
    assert all(row in all_steps for row in FOLDED_ROWS)
    assert "touch nothing" not in all_steps
