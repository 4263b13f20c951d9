"""What a failed test shows of its race."""

import html
import json
import re
from dataclasses import dataclass

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


LONG_AND_SHORT = """
from tests.project.shop.models import Account, Doctor, Show, Ticket, Voucher

def work(pk):
    for model in (Account, Doctor, Show, Ticket, Voucher):
        model.objects.filter(pk=pk).exists()
    increment(pk)

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

@on_database
def test_a_long_one():
    counter = Counter.objects.create(name="clicks")
    explore((work, {"pk": counter.pk}), (work, {"pk": counter.pk})).assert_no_race()
"""
FOLDED = "... 4 steps that touch nothing of the other call's"
FOLDED_ROWS = ("FROM shop_doctor", "FROM shop_show", "FROM shop_ticket", "FROM shop_voucher")


@dataclass
class Reported:
    """What runs with a folder for reports show, and the files in it.

    Attributes:
        texts: Of each test of the first run.
        text: All of the first run.
        files: After the first run, by name.
        told: The exploration as data, as the test has it.
        again: What a second run shows: of the test that the exploration's page has, and of the long one, unfolded.
        left: The names of files after a third run, in which nothing is wrong with the race.
    """

    texts: dict[str, str]
    text: str
    files: dict[str, str]
    told: str
    again: str
    left: set[str]

    def names(self, test: str, ending: str) -> list[str]:
        return [name for name in self.files if re.search(rf"\b{test}\b", name) and name.endswith(ending)]

    def file(self, test: str, ending: str) -> str:
        """The file of this ending about a test."""
        [name] = self.names(test, ending)
        return self.files[name]


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    with Site(tmp_path_factory.mktemp("pages")) as site:
        pages = site.folder / "pages"
        site.write_tests(LONG_AND_SHORT)
        assert site.pytest("--aioconcurrent-report", "pages") == 1
        parts = re.split(r"^_+ (test_\w+) _+$|^=+ ", site.text, flags=re.MULTILINE)
        texts = {name: text for name, text in zip(parts[1::2], parts[2::2], strict=True) if name}
        shown = Reported(texts, site.text, {}, (site.folder / "told.json").read_text(), "", set())
        shown.files = {file.name: file.read_text() for file in pages.iterdir()}
        copied = html.unescape(shown.file("test_an_exploration", ".html"))
        (site.folder / "test_copied.py").write_text(
            copied.partition('aria-label="A test of this race">')[2].partition("</pre>")[0]
        )
        options = ["--aioconcurrent-report", "pages", "--aioconcurrent-unfolded"]
        assert site.pytest(*options, "test_copied.py", "test_shop.py::test_a_long_one") == 1
        shown.again = site.text
        site.write_tests(LONG_AND_SHORT.replace("call_concurrently(2, increment, counter.pk)\n    assert False", ""))
        assert site.pytest("--aioconcurrent-report", "pages", "test_shop.py::test_a_race") == 0
        shown.left = {file.name for file in pages.iterdir()}
    return shown


def test_a_folder_for_reports_records_the_races_and_gets_a_page_of_a_failed_test(reported: Reported) -> None:
    lanes, _, page = reported.texts["test_a_race"].split("- Their lanes -")[1].partition("- Page -")
    assert "UPDATE shop_counter" in lanes
    [name] = reported.names("test_a_race", ".html")
    assert f"/pages/{name}\n" in page
    assert re.search(r"Pages of races: .*/pages/index\.html$", reported.text, re.MULTILINE)
    assert name in reported.files["index.html"]
    assert "tests.project.shop.calls.increment" in reported.files[name]


def test_beside_each_page_stands_the_same_as_data(reported: Reported) -> None:
    pages = {name.removesuffix(".html") for name in reported.files if name.endswith(".html")} - {"index"}
    assert {f"{name}.{kind}" for name in pages for kind in ("html", "json")} | {"index.html"} == reported.files.keys()
    assert len(pages) == 3
    raced = json.loads(reported.file("test_a_race", ".json"))
    assert [call["ended"] for call in raced["calls"]] == ["returned", "returned"]
    assert any(step["text"].startswith("UPDATE") and step["ended"] > step["started"] for step in raced["steps"])
    explored = json.loads(reported.file("test_an_exploration", ".json"))
    assert explored["verdict"] == "race"
    assert explored == json.loads(reported.told)


def test_a_page_has_a_test_of_its_race_that_can_be_copied(reported: Reported) -> None:
    copied = reported.again.partition("test_copied.py")[2]
    assert "RaceFound: race" in copied
    assert "2 failed" in copied


def test_the_page_of_a_race_that_is_gone_goes_and_others_stay(reported: Reported) -> None:
    gone = {*reported.names("test_a_race", ".html"), *reported.names("test_a_race", ".json")}
    assert len(gone) == 2
    assert gone.isdisjoint(reported.left)
    assert reported.files.keys() - gone <= reported.left


def test_the_story_of_a_race_is_folded_and_one_option_shows_all_of_it(reported: Reported) -> None:
    told = re.sub(r"(^E|[\s│])+", " ", reported.texts["test_a_long_one"], flags=re.MULTILINE)
    assert told.count(FOLDED) == 2, told
    assert not any(row in told for row in FOLDED_ROWS)
    assert "- All steps -" not in told
    all_steps = reported.again.split("- All steps -")[-1].split("= short test")[0]
    assert all(row in all_steps for row in FOLDED_ROWS)
    assert "touch nothing" not in all_steps
