"""Counterexamples in the report of a failed test: shown, replayed, and written as pages."""

import json
import re
import shlex
from dataclasses import dataclass

import pytest

from tests.project.databases import on, thorough
from tests.runners.sites import Site, only

pytest_plugins = ["pytester"]

EXPLORES = """
@on_database
@pytest.mark.parametrize("value", ["some clicks"])
def test_no_update_is_lost(value):
    counter = Counter.objects.create(name=value)
    found = explore((increment, {{"pk": counter.pk}}), ({other}, {{"pk": counter.pk}}))
    print("RUNS", found.schedules_run)
    {asserts}
"""
RACES = EXPLORES.format(other="increment", asserts="found.assert_no_race()")
FIXED = EXPLORES.replace("(increment,", "(increment_atomically,").format(
    other="increment_atomically", asserts="found.assert_no_race()"
)
TOKEN = "aioc1:0.1"


def runs_told(text: str) -> int:
    """How many runs an exploration took."""
    return int(re.findall(r"^RUNS (\d+)$", text, re.MULTILINE)[0])


@pytest.mark.parametrize("database", [*on("file"), *thorough(on("postgresql"))])
def test_the_line_of_a_failed_test_replays_its_counterexample_until_the_code_is_fixed(site_anywhere: Site) -> None:
    site_anywhere.write_tests(RACES)
    assert site_anywhere.pytest("-n", "1", plugins=["xdist"]) == 1
    explored = runs_told(site_anywhere.text)
    [line] = re.findall(r"(pytest 'test_shop.*)$", site_anywhere.text, re.MULTILINE)
    program, test, *arguments = shlex.split(line)
    assert (program, test) == ("pytest", "test_shop.py::test_no_update_is_lost[some clicks]")
    assert arguments[-2:] == ["-n", "0"]
    assert site_anywhere.pytest(test, *arguments, plugins=["xdist"]) == 1
    assert f"pytest {shlex.quote(test)} --aioconcurrent-replay {arguments[1]}\n" in site_anywhere.text
    assert runs_told(site_anywhere.text) < explored
    assert "lost update: A read value=0 in shop_counter id=" in site_anywhere.text
    site_anywhere.write_tests(FIXED)
    assert site_anywhere.pytest(test, *arguments[:2], "-rA") == 1
    assert "InconclusiveError" in site_anywhere.text, "the program has left the schedule"


def test_the_environment_replays_under_any_runner(site: Site) -> None:
    site.write_tests(RACES)
    assert site.pytest(AIOCONCURRENT_REPLAY=TOKEN) == 1
    assert "lost update: A read value=0 in shop_counter id=" in site.text


@dataclass
class Reported:
    """What a run shows of each test that fails, and the pages that it has written."""

    sections: list[str]
    pages: dict[str, str]
    summary: str
    text: str


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    """A run of two tests with the same counterexample, of which the first asserts by itself."""
    with Site(tmp_path_factory.mktemp("replay")) as site:
        by_itself = EXPLORES.format(other="increment", asserts="assert not found.counterexample")
        site.write_tests(by_itself.replace("test_no", "test_none") + RACES)
        assert site.pytest("-o", "aioconcurrent_report=pages", CI="true", GITHUB_ACTIONS="true", COLUMNS="80") == 1
        pages = {str(page): page.read_text() for page in (site.folder / "pages").glob("*.html")}
    failures, summary = site.text.split("= FAILURES =")[1].split("= short test summary info =")
    return Reported(failures.split("_ test_no_update_is_lost"), pages, summary, site.text)


def test_lanes_and_the_line_to_replay_stand_in_the_report_once(reported: Reported) -> None:
    first, second = reported.sections
    for shown, section in ((first, True), (second, False)):
        assert shown.count("B: increment(pk=") == 1
        assert shown.split("- Lanes -")[1].count("B: increment(pk=") == 1
        assert ("- Last exploration -" in shown) is section
        assert shown.count("--aioconcurrent-replay aioc1:") == 1


def test_lanes_are_as_wide_as_the_terminal(reported: Reported) -> None:
    lanes = reported.sections[1].split("- Lanes -")[1].split("- Page -")[0]
    assert max(map(len, lanes.splitlines()[1:-1])) in range(70, 81)


def test_the_summary_has_one_line_and_public_names_even_in_ci(reported: Reported) -> None:
    line = "test_shop.py::test_no_update_is_lost[some clicks] - aioconcurrent.RaceFound: race ("
    assert line in reported.summary
    assert "hint" not in reported.summary
    [noted] = re.findall(r"^::error .*", reported.text, re.MULTILINE)
    assert noted.startswith("::error file=")
    assert re.search(r"/tests/project/shop/calls\.py,line=\d+,title=lost update::A read value=0 in shop_counter", noted)
    assert "aioconcurrent/" not in reported.sections[1].replace("aioconcurrent/report", ""), "frames of this library"


def test_a_folder_for_reports_gets_a_page_of_each_counterexample(reported: Reported) -> None:
    of_races = {place: text for place, text in reported.pages.items() if not place.endswith("index.html")}
    assert len(of_races) == len(reported.pages) - 1 == 2
    for place, text in of_races.items():
        assert [f"{place}\n" in shown.split("- Page -")[1] for shown in reported.sections].count(True) == 1
        assert "lost update" in text
        assert "--aioconcurrent-replay" in text


def test_what_went_wrong_is_run_first_the_next_time_until_it_does_not_any_more(site: Site) -> None:
    site.write_tests(RACES)
    cached = ["cacheprovider"]
    assert site.pytest(plugins=cached, GITHUB_ACTIONS="") == 1
    assert "::error" not in site.text
    explored, story = runs_told(site.text), re.findall(r"^E +lost update: .*$", site.text, re.MULTILINE)
    assert site.pytest(plugins=cached) == 1
    assert runs_told(site.text) < explored
    assert re.findall(r"^E +lost update: .*$", site.text, re.MULTILINE) == story
    [orders] = (site.folder / ".pytest_cache" / "v" / "aioconcurrent" / "orders").iterdir()
    assert json.loads(orders.read_text())["0"].startswith("aioc1:")
    site.write_tests(FIXED)
    assert site.pytest("-rP", plugins=cached) == 0
    assert json.loads(orders.read_text()) == {}


def test_a_replay_of_more_than_one_test_is_refused(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_shop="def test_one(): ...\ndef test_two(): ...\n")
    result = pytester.runpytest_inprocess(*only(), "--aioconcurrent-replay", TOKEN)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "replays the order of one test, and 2 are selected: name one, as in pytest test_shop.py::test_one" in str(
        result.stderr
    )


def test_a_replay_in_workers_of_xdist_is_refused(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess(*only("xdist"), "-n", "2", "--aioconcurrent-replay", TOKEN)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--aioconcurrent-replay runs one test, in this process: add -n 0." in str(result.stderr)
