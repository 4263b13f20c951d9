"""Tests in rounds: each with fixtures of its own, and reported as one test."""

import xml.etree.ElementTree as ET

import pytest

from tests.plugin.sites import Site
from tests.project.databases import on

THIRD_FAILS = """
rounds = []

@pytest.fixture
def fresh():
    return []

@pytest.fixture(scope="module", autouse=True)
def lasting():
    print("SET UP LASTING")
    yield
    print("TORN DOWN LASTING")

{mark}
def test_third(fresh):
    fresh.append(1)
    assert fresh == [1]
    rounds.append(1)
    print("round", len(rounds))
    assert len(rounds) % 3, f"round {{len(rounds)}} is one too many"
"""


def test_a_marked_test_runs_in_rounds_and_is_reported_as_one(site: Site) -> None:
    site.write_tests(THIRD_FAILS.format(mark="@pytest.mark.race(rounds=7)"))
    assert site.pytest("--junitxml=junit.xml") == 1
    assert "- Rounds -" in site.text
    assert "The test failed in 2 of 7 rounds: 3, 6. Round 3 is shown." in site.text
    assert "round 3 is one too many" in site.text
    assert "round 6 is one too many" not in site.text
    assert "FAILED test_shop.py::test_third - failed in 2 of 7 rounds: AssertionError: " in site.text
    assert "= 1 failed in " in site.text
    [case] = ET.parse(site.folder / "junit.xml").iter("testcase")
    assert [found.attrib for found in case.iter("property")] == [{"name": "rounds", "value": "failed in 2 of 7 rounds"}]


def test_only_what_the_round_that_is_shown_printed_is_shown(site: Site) -> None:
    site.write_tests(THIRD_FAILS.format(mark="@pytest.mark.race(rounds=7)"))
    site.pytest()
    assert [line for line in site.text.splitlines() if line.startswith("round ")] == ["round 3"]


def test_fixtures_of_a_wider_scope_stay_until_the_last_round(site: Site) -> None:
    site.write_tests(THIRD_FAILS.format(mark="@pytest.mark.race(rounds=7)"))
    site.pytest("-s")
    assert site.text.count("SET UP LASTING") == site.text.count("TORN DOWN LASTING") == 1
    assert site.text.index("round 7") < site.text.index("TORN DOWN LASTING")


def test_a_test_that_passes_in_all_rounds_says_so_in_a_verbose_run(site: Site) -> None:
    site.write_tests(THIRD_FAILS.format(mark="@pytest.mark.race(rounds=2)"))
    assert site.pytest("-v") == 0
    assert "test_shop.py::test_third PASSED (2 of 2 rounds)" in site.text
    assert "= 1 passed in " in site.text


@pytest.mark.parametrize("option", ["-x", "--maxfail=1", "--pdb"])
def test_the_first_round_that_fails_is_the_last_where_pytest_would_stop(option: str, site: Site) -> None:
    site.write_tests(THIRD_FAILS.format(mark="@pytest.mark.race(rounds=7)"))
    site.pytest(option)
    assert "The test failed in 1 of 3 rounds: 3. Round 3 is shown. 4 more were not run." in site.text
    assert site.text.count("TORN DOWN LASTING") == 1


def test_a_mark_without_a_number_is_for_ten_rounds_or_as_many_as_the_configuration_file_says(site: Site) -> None:
    site.write_tests(THIRD_FAILS.format(mark="@pytest.mark.race"))
    site.pytest()
    assert "failed in 3 of 10 rounds" in site.text
    site.pytest("-o", "aioconcurrent_rounds=4")
    assert "failed in 1 of 4 rounds" in site.text
    site.pytest("-o", "aioconcurrent_rounds=4", "--aioconcurrent-rounds=6")
    assert "failed in 2 of 6 rounds" in site.text


def test_the_command_line_comes_before_the_mark_and_the_mark_before_the_file(site: Site) -> None:
    site.write_tests(THIRD_FAILS.format(mark="@pytest.mark.race(rounds=7)"))
    site.pytest("-o", "aioconcurrent_rounds=4")
    assert "failed in 2 of 7 rounds" in site.text
    site.pytest("--aioconcurrent-rounds=3")
    assert "failed in 1 of 3 rounds" in site.text
    assert site.pytest("--aioconcurrent-rounds=1") == 0


def test_rounds_on_the_command_line_are_for_all_tests_that_race_and_no_others(site: Site) -> None:
    site.write_tests("""
        rounds = []

        @pytest.mark.parametrize("races", [True, False])
        def test_race(races):
            rounds.append(races)
            if races:
                call_concurrently(1, os.getppid)

        def test_rounds():
            assert rounds == [True] * 3 + [False]
    """)
    assert site.pytest("-v", "--aioconcurrent-rounds=3") == 0, site.text
    assert "test_race[True] PASSED (3 of 3 rounds)" in site.text
    assert "test_race[False] PASSED  " in site.text


RACES = """
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


@pytest.mark.parametrize("database", on("file", "postgresql"))
@pytest.mark.parametrize("options", [(), ("-n", "2"), ("--reuse-db",)], ids=["alone", "xdist", "reuse-db"])
def test_every_round_begins_with_an_empty_database(options: tuple[str, ...], site_anywhere: Site) -> None:
    site_anywhere.write_tests(RACES)
    assert site_anywhere.pytest("-v", *options, plugins=("xdist",)) == 0, site_anywhere.text
    assert site_anywhere.text.count("PASSED (3 of 3 rounds)") + site_anywhere.text.count("(3 of 3 rounds)") == 6


@pytest.mark.parametrize("plugin", ["anyio", "asyncio"])
def test_coroutines_of_other_plugins_run_in_rounds(plugin: str, site: Site) -> None:
    site.write_tests(f"""
        import aioconcurrent
        rounds = []

        @pytest.fixture
        async def fresh():
            yield []

        @pytest.mark.{plugin}
        @pytest.mark.race(rounds=3)
        async def test_coroutine(fresh):
            fresh.append(await aioconcurrent.call_concurrently(1, os.getppid))
            assert len(fresh) == 1
            rounds.append(1)
            assert len(rounds) < 3
    """)
    mode = "auto" if plugin == "asyncio" else "strict"
    options = ["-o", f"asyncio_mode={mode}"] if plugin == "asyncio" else ["-o", "anyio_mode=auto"]
    assert site.pytest(*options, "-k", "not trio", plugins=(plugin,)) == 1
    assert "The test failed in 1 of 3 rounds: 3." in site.text


@pytest.mark.parametrize(
    ("test", "status", "said"),
    [
        ("pytest.skip('not here')", 0, "1 skipped"),
        ("assert next(numbers) != 2", 0, "1 xfailed"),
        ("assert next(numbers) != 9", 1, "1 failed"),
    ],
    ids=["skipped", "expected to fail", "expected to fail and passed"],
)
def test_a_test_that_is_expected_to_fail_must_fail_in_one_round(test: str, status: int, said: str, site: Site) -> None:
    site.write_tests(f"""
        import itertools
        numbers = itertools.count()

        @pytest.mark.race(rounds=5)
        @pytest.mark.xfail(reason="a race that is known", strict=True)
        def test_known():
            {test}
    """)
    assert site.pytest("-rA") == status, site.text
    assert said in site.text


def test_a_fixture_that_fails_in_one_round_fails_the_test(site: Site) -> None:
    site.write_tests("""
        import itertools
        numbers = itertools.count()

        @pytest.fixture
        def fragile():
            assert next(numbers) != 2

        @pytest.mark.race(rounds=5)
        def test_with_fixture(fragile): ...
    """)
    assert site.pytest() == 1
    assert "The test failed in 1 of 5 rounds: 3." in site.text
    assert "= 1 error in " in site.text


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ("race(rounds=0)", "must be an integer of at least 1, not 0"),
        ("race(rounds='3')", "must be an integer of at least 1, not '3'"),
        ("race(round=3)", "the mark is written @pytest.mark.race(rounds=20), not "),
    ],
)
@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_a_bad_mark_is_told_before_any_test_runs(mark: str, said: str, options: tuple[str, ...], site: Site) -> None:
    site.write_tests(f"""
        def test_first():
            (HERE / "ran").touch()

        @pytest.mark.{mark}
        def test_second(): ...
    """)
    assert site.pytest(*options, plugins=("xdist",)) != 0
    assert said in site.text
    assert "test_shop.py::test_second" in site.text
    assert not (site.folder / "ran").exists()
