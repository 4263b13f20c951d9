"""Hunts of a small project with three races and three safe twins, on every database."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tests.hunt.runs import HUNT, PYTEST, RACES, Hunted, copied, run
from tests.project.databases import thorough

CLOSES_NO_CYCLE = "nothing that they touch closes a cycle"
SERVERS = ("postgresql", "mysql")
# Where rows are seen by others is the affair of `test_committing.py`, on each of them.
ALL_BUT_ONE = thorough(map(pytest.param, ("memory", "file", "mysql")))


def database_of(name: str, folder: Path) -> dict[str, Any] | None:
    """The settings of a database of the project's own."""
    if name == "memory":
        return None
    if name == "file":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": "till", "TEST": {"NAME": str(folder / "test_till")}}
    known: dict[str, Any] = settings.DATABASES[name]
    names = {"ENGINE", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS"} & known.keys()
    return {**{each: known[each] for each in names}, "NAME": f"till_{os.getpid()}"}


@pytest.fixture(scope="module", params=["postgresql", *ALL_BUT_ONE])
def hunted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Hunted:
    """A run of Django's own runner, with one test more that fails in every hunt that leaves anything."""
    if request.param in SERVERS and request.param not in settings.DATABASES:
        pytest.skip(f"no {request.param}")
    folder = copied(tmp_path_factory.mktemp("hunt"))
    database = database_of(request.param, folder)
    return run(folder, *HUNT, "--junit", "junit.xml", "manage.py", "test", "till", database=database)


def test_the_three_races_are_told_and_none_of_their_safe_twins(hunted: Hunted) -> None:
    assert hunted.told == RACES, hunted.printed


def test_the_tests_pass_as_they_do_without_a_hunt(hunted: Hunted) -> None:
    assert "\nRan 8 tests in" in hunted.printed
    assert "\nOK\n" in hunted.printed


def test_no_process_outlives_the_hunt(hunted: Hunted) -> None:
    assert not hunted.left


def test_a_race_makes_the_run_fail(hunted: Hunted) -> None:
    assert hunted.status == 1, hunted.printed


def test_every_test_that_ran_again_found_the_rows_that_it_needs(hunted: Hunted) -> None:
    assert hunted.report["not_explored"] == {"it only reads": 3, CLOSES_NO_CYCLE: 1}, hunted.printed
    assert hunted.report["pairs"] == 5


def test_machines_can_read_what_was_found(hunted: Hunted) -> None:
    found = {(race["anomaly"], race["kind"]) for race in hunted.report["races"]}
    assert found == {("lost update", "write"), ("double insert", "data")}
    suite = ET.parse(hunted.folder / "junit.xml").getroot()
    assert suite.get("failures") == "3"


def test_each_race_has_a_page_to_which_the_index_leads(hunted: Hunted) -> None:
    report = hunted.folder / ".aioconcurrent"
    index = (report / "index.html").read_text()
    for race in hunted.report["races"]:
        assert f'href="pages/{race["page"]}"' in index
        assert race["token"] in index
        assert "<title>race: " in (report / "pages" / race["page"]).read_text()


@pytest.fixture(scope="module")
def with_pytest(tmp_path_factory: pytest.TempPathFactory) -> Hunted:
    """A run of pytest-django, which accepts what it finds."""
    return run(copied(tmp_path_factory.mktemp("hunt")), *HUNT, "--accept", *PYTEST, "with_pytest.py", "-v")


def test_a_hunt_with_pytest_tells_the_same(with_pytest: Hunted) -> None:
    assert with_pytest.told == RACES, with_pytest.printed


def test_the_tests_of_pytest_pass_as_they_do_without_a_hunt(with_pytest: Hunted) -> None:
    assert "9 passed" in with_pytest.printed
    assert with_pytest.status == 0, with_pytest.printed


def test_one_cause_in_several_tests_is_one_race(with_pytest: Hunted) -> None:
    assert with_pytest.report["not_explored"] == {
        CLOSES_NO_CYCLE: 1,
        "the same pair with the same statements was explored in another test": 1,
    }


def test_what_a_baseline_knows_does_not_fail_a_run_of_several_processes(with_pytest: Hunted) -> None:
    again = run(with_pytest.folder, *HUNT, *PYTEST, "with_pytest.py", "-n", "2")
    assert {who.removesuffix("  (known)") for _, who in again.told} == {who for _, who in RACES}, again.printed
    assert all(race["is_known"] for race in again.report["races"])
    assert again.status == 0, again.printed


def test_processes_in_other_folders_have_one_list_of_what_is_hunted(tmp_path: Path) -> None:
    home, places = copied(tmp_path / "here"), [tmp_path / "one", tmp_path / "other"]
    gateways = [part for place in places for part in ("--tx", f"popen//chdir={place}")]  # as of other machines
    tests = str(home / "with_pytest.py")  # as xdist wants it
    found = run(home, *HUNT, "--only", "redeem", *PYTEST, tests, "--dist", "each", "--rsyncdir=.", *gateways)
    assert found.told == {("double insert", "POST /codes/<str:code>/redeem/ twice")}, found.printed
    assert found.report["pairs"] == 2, "a pair was explored in each of the processes"
    assert any(Path(place, ".aioconcurrent").is_dir() for place in places), "no process was in a folder of its own"
    pages = {path.name for path in (home / ".aioconcurrent" / "pages").iterdir()}
    assert pages == {race["page"] for race in found.report["races"]}


def test_the_story_of_a_race_is_told_on_demand(with_pytest: Hunted) -> None:
    told = run(with_pytest.folder, *HUNT, "--story", "1")
    assert with_pytest.report["races"][0]["explanation"] in told.printed
    assert "│ A: POST /" in told.printed
    assert f"--aioconcurrent-replay '{with_pytest.report['races'][0]['token']}'" in told.printed


def test_a_ready_test_fails_with_the_race_and_passes_when_it_is_mended(with_pytest: Hunted) -> None:
    races = with_pytest.report["races"]
    number = 1 + next(index for index, race in enumerate(races) if "redeem" in race["names"][0])
    written = run(with_pytest.folder, *HUNT, "--write-test", str(number)).printed.strip()
    failing = run(with_pytest.folder, *PYTEST, written, "--aioconcurrent-replay", races[number - 1]["token"])
    assert "RaceFound: race" in failing.printed, failing.printed
    assert "1 failed" in failing.printed
    services = with_pytest.folder / "till" / "services.py"
    broken = services.read_text()
    services.write_text(broken.replace("def redeem(code):", "def redeem(code):\n    return redeem_once(code)\n"))
    try:
        mended = run(with_pytest.folder, *PYTEST, written)
    finally:
        services.write_text(broken)
    assert "1 passed" in mended.printed, mended.printed


def test_a_list_says_what_would_be_hunted_and_explores_nothing(tmp_path: Path) -> None:
    listed = run(copied(tmp_path), *HUNT, "--list", "--only", "redeem", *PYTEST, "with_pytest.py")
    names = [line.partition("  (")[0] for line in listed.printed.splitlines() if line.startswith("POST ")]
    assert names == ["POST /codes/<str:code>/redeem/ twice", "POST /codes/<str:code>/redeem-once/ twice"]
    assert listed.status == 0


def test_the_option_of_pytest_hunts_as_the_command_does(tmp_path: Path) -> None:
    text = "--only withdraw/ --fail-on never"
    options = ("--aioconcurrent-hunt", "--aioconcurrent-hunt-args", text)
    found = run(copied(tmp_path), *PYTEST, "with_pytest.py", *options)
    assert found.told == {("lost update", "POST /accounts/<int:account_id>/withdraw/ twice")}, found.printed
    assert found.status == 0


def test_options_that_there_are_not_are_named_before_any_test_runs(tmp_path: Path) -> None:
    found = run(copied(tmp_path), *PYTEST, "with_pytest.py", "--aioconcurrent-hunt", "--aioconcurrent-hunt-args=--all")
    assert "--aioconcurrent-hunt-args: unknown: --all" in found.printed
    assert found.status == 4


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), set()),
        (
            ("--bodies",),
            {
                ("non-repeatable read", "POST /accounts/<int:account_id>/deposit/ twice"),
                (
                    "non-repeatable read",
                    "GET /accounts/<int:account_id>/twice/ + POST /accounts/<int:account_id>/deposit/",
                ),
            },
        ),
    ],
)
def test_answers_that_differ_in_their_bodies_are_told_where_that_is_asked_for(
    tmp_path: Path, options: tuple[str, ...], told: set[tuple[str, str]]
) -> None:
    found = run(copied(tmp_path), *HUNT, "--pair-seconds", "300", *options, *PYTEST, "bodies_with_pytest.py")
    assert found.told == told, found.printed
    assert {race["kind"] for race in found.report["races"]} <= {"answer"}
    assert all("'110'" in race["explanation"] or "'120120'" in race["explanation"] for race in found.report["races"])
    assert not [reason for reason in found.report["not_explored"] if "nothing overlapped" in reason]
    also = [other for race in found.report["races"] for other in race["others"]]
    assert also == (["POST /accounts/<int:account_id>/adeposit/ twice"] if options else [])


@pytest.fixture(scope="module")
def more(tmp_path_factory: pytest.TempPathFactory) -> Hunted:
    """A run of tests that ask for more than requests of Django's client."""
    options = ("--target", "till.services:redeem", "--fail-on", "any")
    return run(copied(tmp_path_factory.mktemp("hunt")), *HUNT, *options, *PYTEST, "more_with_pytest.py")


@pytest.mark.parametrize(
    ("anomaly", "who"),
    [
        ("lost update", "POST /accounts/<int:account_id>/awithdraw/ twice"),
        ("lost update", "POST /own/ twice"),
        ("lost update", "command add_interest twice"),
        ("double insert", "till.services:redeem twice"),
        ("unhandled conflict", "POST /codes/<str:code>/promise/ + what it enqueues"),
        ("lost update", "POST /accounts/<int:account_id>/withdraw-safely/ + POST /accounts/<int:account_id>/withdraw/"),
    ],
)
def test_whatever_a_test_asks_for_is_hunted(more: Hunted, anomaly: str, who: str) -> None:
    assert (anomaly, who) in more.told, more.printed


def test_what_is_called_in_a_savepoint_of_the_test_leaves_the_test_as_it_was(more: Hunted) -> None:
    assert "7 passed, 1 xfailed" in more.printed
    assert "the test did something else when it ran again" not in more.report["not_explored"]


def test_what_cannot_be_done_again_is_counted_and_fails_no_test(more: Hunted) -> None:
    assert [count for reason, count in more.report["not_explored"].items() if "redeem_each" in reason] == [1]


def test_a_test_that_fails_is_not_hunted(more: Hunted) -> None:
    assert not [race for race in more.report["races"] if "SUMMER" in race["story"]]
    assert more.report["tests"] == 6
