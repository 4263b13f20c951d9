"""Tests in rounds: each with fixtures of its own, and reported as one test."""

import xml.etree.ElementTree as ET

import pytest

from tests.runners.sites import Site, only

pytest_plugins = ["pytester"]

THIRD_FAILS = """
import pytest

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


def run(pytester: pytest.Pytester, test: str, *options: str) -> tuple[int, str]:
    """Run a test that needs no project; return the exit status and what was printed."""
    pytester.makepyfile(test_shop=test)
    result = pytester.runpytest_inprocess(*only(), *options)
    return int(result.ret), f"{result.stdout}{result.stderr}"


def in_rounds(pytester: pytest.Pytester, mark: str, *options: str) -> tuple[int, str]:
    """Run a test with that mark which fails in every third round."""
    return run(pytester, THIRD_FAILS.format(mark=mark), *options)


def test_a_marked_test_runs_in_rounds_and_is_reported_as_one(pytester: pytest.Pytester) -> None:
    status, text = in_rounds(pytester, "@pytest.mark.race(rounds=7)", "--junitxml=junit.xml")
    assert status == 1
    assert "- Rounds -" in text
    assert "The test failed in 2 of 7 rounds: 3, 6. Round 3 is shown." in text
    assert "round 3 is one too many" in text
    assert "round 6 is one too many" not in text
    assert "FAILED test_shop.py::test_third - failed in 2 of 7 rounds: AssertionError: " in text
    assert "= 1 failed in " in text
    [case] = ET.parse(pytester.path / "junit.xml").iter("testcase")
    assert [found.attrib for found in case.iter("property")] == [{"name": "rounds", "value": "failed in 2 of 7 rounds"}]


def test_only_what_the_round_that_is_shown_printed_is_shown(pytester: pytest.Pytester) -> None:
    _, text = in_rounds(pytester, "@pytest.mark.race(rounds=7)")
    assert [line for line in text.splitlines() if line.startswith("round ")] == ["round 3"]


def test_fixtures_of_a_wider_scope_stay_until_the_last_round(pytester: pytest.Pytester) -> None:
    _, text = in_rounds(pytester, "@pytest.mark.race(rounds=7)", "-s")
    assert text.count("SET UP LASTING") == text.count("TORN DOWN LASTING") == 1
    assert text.index("round 7") < text.index("TORN DOWN LASTING")


def test_a_test_that_passes_in_all_rounds_says_so_in_a_verbose_run(pytester: pytest.Pytester) -> None:
    status, text = in_rounds(pytester, "@pytest.mark.race(rounds=2)", "-v")
    assert status == 0
    assert "test_shop.py::test_third PASSED (2 rounds)" in text
    assert "= 1 passed in " in text


@pytest.mark.parametrize("option", ["-x", "--maxfail=1", "--pdb"])
def test_the_first_round_that_fails_is_the_last_where_pytest_would_stop(
    option: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pdb.Pdb.cmdloop", lambda *_: None)
    _, text = in_rounds(pytester, "@pytest.mark.race(rounds=7)", option)
    assert "FAILED test_shop.py::test_third - failed in 1 of 3 rounds: " in text
    assert "4 more were not run" in text or option == "--pdb"


def test_stopping_early_still_ends_fixtures_of_a_wider_scope(pytester: pytest.Pytester) -> None:
    _, text = in_rounds(pytester, "@pytest.mark.race(rounds=7)", "-x", "-s")
    assert text.count("SET UP LASTING") == text.count("TORN DOWN LASTING") == 1


@pytest.mark.parametrize(
    ("mark", "options", "said"),
    [
        ("race", [], "failed in 3 of 10 rounds"),
        ("race", ["-o", "aioconcurrent_rounds=4"], "failed in 1 of 4 rounds"),
        ("race", ["-o", "aioconcurrent_rounds=4", "--aioconcurrent-rounds=6"], "failed in 2 of 6 rounds"),
        ("race(rounds=7)", ["-o", "aioconcurrent_rounds=4"], "failed in 2 of 7 rounds"),
        ("race(7)", [], "failed in 2 of 7 rounds"),
        ("race(rounds=7)", ["--aioconcurrent-rounds=3"], "failed in 1 of 3 rounds"),
        ("race(rounds=7)", ["--aioconcurrent-rounds=1"], "1 passed"),
    ],
)
def test_the_command_line_comes_before_the_mark_and_that_before_the_file_and_that_before_ten(
    mark: str, options: list[str], said: str, pytester: pytest.Pytester
) -> None:
    _, text = in_rounds(pytester, f"@pytest.mark.{mark}", *options)
    assert said in text


@pytest.mark.parametrize(
    ("test", "status", "said"),
    [
        ("pytest.skip('not here')", 0, "1 skipped"),
        ("assert next(numbers) != 2", 0, "1 xfailed"),
        ("assert next(numbers) != 9", 1, "1 failed"),
    ],
    ids=["skipped", "failed in one round", "passed in all"],
)
def test_a_test_that_is_expected_to_fail_must_fail_in_one_round(
    test: str, status: int, said: str, pytester: pytest.Pytester
) -> None:
    program = f"""
        import itertools
        import pytest

        numbers = itertools.count()

        @pytest.mark.race(rounds=5)
        @pytest.mark.xfail(reason="a race that is known", strict=True)
        def test_known():
            {test}
    """
    found, text = run(pytester, program, "-rA")
    assert (found, f"= {said} in " in text) == (status, True)


def test_a_fixture_that_fails_in_one_round_fails_the_test(pytester: pytest.Pytester) -> None:
    program = """
        import itertools
        import pytest

        numbers = itertools.count()

        @pytest.fixture
        def fragile():
            assert next(numbers) != 2

        @pytest.mark.race(rounds=5)
        def test_with_fixture(fragile): ...
    """
    status, text = run(pytester, program)
    assert status == 1
    assert "The test failed in 1 of 5 rounds: 3." in text
    assert "= 1 error in " in text


BAD_MARKS = {
    "race(rounds=0)": "must be an integer of at least 1, not 0",
    "race(rounds='3')": "must be an integer of at least 1, not '3'",
    "race(round=3)": "the mark is written @pytest.mark.race(rounds=20), not @pytest.mark.race(round=3)",
    "race(3, 4)": "the mark is written @pytest.mark.race(rounds=20), not @pytest.mark.race(3, 4)",
}


@pytest.mark.parametrize("mark", BAD_MARKS)
def test_a_bad_mark_is_told_before_any_test_runs(mark: str, pytester: pytest.Pytester) -> None:
    program = f"""
        import pytest
        from pathlib import Path

        def test_first():
            Path("ran").touch()

        @pytest.mark.{mark}
        def test_second(): ...
    """
    status, text = run(pytester, program)
    assert status == pytest.ExitCode.USAGE_ERROR
    assert BAD_MARKS[mark] in text
    assert "test_shop.py::test_second" in text
    assert not (pytester.path / "ran").exists()


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
    assert "test_race[True] PASSED (3 rounds)" in site.text
    assert "test_race[False] PASSED  " in site.text


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
