"""Runs of pytest, ended in every way: one template serves a whole run, and none is left."""

import os
import re
import signal
from dataclasses import dataclass
from typing import Any

import pytest

from tests.faults.processes import signed_in, wait_until
from tests.project.databases import on
from tests.runners.sites import Site

NOTES = """
def template():
    return os.getppid()

def note():
    with open(HERE / "templates", "a") as file:
        file.write(f"{os.getpid()} {call_concurrently(1, template)[0]}\\n")

@pytest.mark.parametrize("number", range(4))
@on_database
def test_race(number):
    counter = Counter.objects.create(name="clicks")
    call_concurrently(2, increment_atomically, counter.pk).raise_errors()
    counter.refresh_from_db()
    assert counter.value == 2
    note()

@pytest.mark.parametrize("number", range(2))
def test_without_database(number):
    note()
"""
IN_ROUNDS = """
@pytest.mark.race(rounds=3)
@on_database
def test_of_pytest():
    check()

@pytest.mark.race(rounds=3)
class TestOfDjango(TransactionTestCase):
    def test_of_django(self):
        check()

    async def test_of_django_in_coroutine(self):
        from aioconcurrent import call_concurrently
        await Counter.objects.acreate(name="clicks")
        await call_concurrently(2, increment_atomically, (await Counter.objects.aget()).pk)
        assert (await Counter.objects.aget()).value == 2

def check():
    Counter.objects.create(name="clicks")
    call_concurrently(2, increment_atomically, Counter.objects.get().pk)
    assert Counter.objects.get().value == 2
"""
RUNS: dict[str, tuple[list[str], list[str]]] = {
    "alone": ([], []),
    "others": (["randomly", "timeout", "anyio", "cacheprovider"], ["--timeout=100", "--reuse-db"]),
    "xdist": (["xdist", "randomly", "timeout"], ["-n", "2", "--timeout=100"]),
}


ON_DATABASES: list[Any] = on("file", "postgresql")
USUAL = ("file", "others"), ("postgresql", "xdist")


@dataclass
class WholeRun:
    """A run of all tests of a project, with some plugins: what it printed, and which template each process had."""

    plugins: list[str]
    text: str
    templates: list[list[str]]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            (*each.values, run),
            id=f"{each.id}-{run}",
            marks=[*each.marks, *([] if (*each.values, run) in USUAL else [pytest.mark.thorough])],
        )
        for each in ON_DATABASES
        for run in RUNS
    ],
)
def whole_run(
    request: pytest.FixtureRequest, django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> WholeRun:
    alias, run = request.param
    plugins, options = RUNS[run]
    with Site.on_database(tmp_path_factory.mktemp(run), alias) as site:
        site.write_tests(NOTES)
        site.write_tests(IN_ROUNDS, "test_rounds.py")
        assert site.pytest("-v", *options, plugins=plugins) == 0, site.text
    templates = [line.split() for line in (site.folder / "templates").read_text().splitlines()]
    return WholeRun(plugins, site.text, templates)


def test_one_template_serves_a_process_for_the_whole_run(whole_run: WholeRun) -> None:
    assert len(whole_run.templates) == 6
    testers = {tester for tester, _ in whole_run.templates}
    served = 2 if "xdist" in whole_run.plugins else 1
    assert len(testers) == len({template for _, template in whole_run.templates}) == served


def test_every_round_begins_with_an_empty_database(whole_run: WholeRun) -> None:
    in_rounds = re.findall(r"PASSED.*test_rounds|test_rounds.*PASSED", whole_run.text)
    assert len(in_rounds) == 3


PROGRAM = """
import pytest
from pathlib import Path
from tests.faults.processes import left_of

assert pytest.main(["-p", "no:randomly", "-p", "no:asyncio", "-p", "no:timeout"]) == 0
assert not left_of([int(Path("template").read_text())])
"""


def test_the_template_is_ended_with_the_run_and_not_with_the_process(site: Site) -> None:
    """As when `pytest.main` is called by a program that goes on."""
    site.write_tests("""
        def test_race():
            (HERE / "template").write_text(str(call_concurrently(1, os.getppid)[0]))
    """)
    site.write("program.py", PROGRAM)
    assert site.python("program.py") == 0, site.text


STAYS = """
def sign_in():
    (HERE / "signed-in" / str(os.getpid())).touch()

def sign_in_and_stay():
    sign_in()
    time.sleep(600)

def increment_and_stay(pk):
    increment(pk)
    sign_in_and_stay()

def test_race():
    call_concurrently(2, sign_in_and_stay)

def test_exploration(transactional_db):
    counter = Counter.objects.create(name="clicks")
    explore((increment_and_stay, {"pk": counter.pk}), (increment_and_stay, {"pk": counter.pk}))

@pytest.mark.race(rounds=3)
def test_rounds():
    call_concurrently(2, sign_in_and_stay)

async def test_coroutine():
    import aioconcurrent
    await aioconcurrent.call_concurrently(2, sign_in_and_stay)

def test_after(): ...
"""


@pytest.mark.parametrize(
    ("test", "plugins", "options"),
    [
        ("test_race", [], []),
        ("test_exploration", [], []),
        ("test_rounds", [], []),
        ("test_race", ["xdist"], ["-n", "1"]),
        ("test_coroutine", ["anyio"], ["-o", "anyio_mode=auto", "-k", "not trio"]),
        ("test_coroutine", ["asyncio"], ["-o", "asyncio_mode=auto"]),
    ],
    ids=["race", "exploration", "rounds", "xdist", "anyio", "asyncio"],
)
def test_control_c_gives_control_back_and_leaves_nothing(
    test: str, plugins: list[str], options: list[str], site: Site
) -> None:
    (site.folder / "signed-in").mkdir()
    site.write_tests(STAYS)
    names = [f"test_shop.py::{test}", "test_shop.py::test_after"]
    with site.start(*names, *options, plugins=plugins) as process:
        assert wait_until(lambda: len(signed_in(site.folder / "signed-in")) >= 1)
        os.killpg(process.pid, signal.SIGINT)
        text, _ = process.communicate(timeout=60)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, text
    assert "KeyboardInterrupt" in text


@pytest.mark.parametrize("method", ["signal", "thread"])
def test_a_race_that_pytest_timeout_ends_leaves_nothing(method: str, site: Site) -> None:
    (site.folder / "signed-in").mkdir()
    site.write_tests(STAYS)
    options = ["--timeout=2", f"--timeout-method={method}"]
    assert site.pytest("test_shop.py::test_race", "test_shop.py::test_after", *options, plugins=["timeout"]) == 1
    assert "Timeout" in site.text
    assert ("1 passed" in site.text) is (method == "signal")
