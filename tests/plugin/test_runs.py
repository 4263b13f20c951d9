"""Runs of pytest, ended in every way: the template serves the whole run and is left by none."""

import pytest

from tests.plugin.sites import Site
from tests.project.databases import on

NOTES = """
def template():
    return os.getppid()

def note(name):
    with open(HERE / "templates", "a") as file:
        file.write(f"{os.getpid()} {call_concurrently(1, template)[0]}\\n")

@pytest.mark.parametrize("number", range(4))
@on_database
def test_race(number):
    counter = Counter.objects.create(name="clicks")
    call_concurrently(2, increment_atomically, counter.pk).raise_errors()
    counter.refresh_from_db()
    assert counter.value == 2
    note("race")

@pytest.mark.parametrize("number", range(2))
def test_without_database(number):
    note("plain")
"""
RUNS: dict[str, tuple[tuple[str, ...], list[str]]] = {
    "alone": ((), []),
    "xdist": (("xdist",), ["-n", "2"]),
    "randomly": (("randomly",), ["-p", "randomly", "-p", "no:randomly"][:0]),
    "timeout": (("timeout",), ["--timeout=60"]),
    "reuse-db": ((), ["--reuse-db"]),
    "all": (("xdist", "randomly", "timeout", "anyio", "cacheprovider"), ["-n", "2", "--timeout=60", "--reuse-db"]),
}


@pytest.mark.parametrize("database", on("file", "postgresql"))
@pytest.mark.parametrize("run", RUNS)
def test_one_template_serves_a_process_for_the_whole_run(run: str, site_anywhere: Site) -> None:
    site_anywhere.write_tests(NOTES)
    plugins, options = RUNS[run]
    assert site_anywhere.pytest(*options, plugins=plugins) == 0, site_anywhere.text
    notes = [line.split() for line in (site_anywhere.folder / "templates").read_text().splitlines()]
    assert len(notes) == 6
    testers = {tester for tester, _ in notes}
    assert len(testers) == len({template for _, template in notes}) == (2 if "-n" in options else 1)
