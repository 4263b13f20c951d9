"""Results that a test has not looked at: a warning, which fails the test where warnings do."""

import re
from collections.abc import Iterator

import pytest

from tests.runners.sites import Site
from tests.runners.test_django import with_manage

TESTS = """
def fail():
    raise LookupError("sold out")

def race():
    return call_concurrently(2, fail)

def check(results):
    assert len(results.errors) == 2

LATER = []

class TestThatDoesNotLook:
    def test_count(self):
        results = race()
        assert results.count(True) <= 1
        assert True not in results
        assert len(results) == 2
        assert results.values == []

    def test_nothing(self):
        race()

    def test_one_item(self):
        results = race()
        assert results[0].error.args == ("sold out",)

    def test_result_in_a_circle(self):
        results = race()
        results.itself = results

    def test_fixture(self, raced):
        pass

    @on_database
    def test_exploration(self):
        call = increment, {"pk": Counter.objects.create(name="clicks").pk}
        explore(call, call)

class OldTestThatDoesNotLook(TransactionTestCase):
    def test_case(self):
        self.results = race()

@pytest.fixture
def raced():
    return race()

@pytest.fixture
def checked():
    results = race()
    yield
    check(results)

@pytest.fixture(scope="module")
def shared():
    return race()

class TestThatLooksLater:
    @classmethod
    def setup_class(cls):
        cls.results = race()

    def test_nothing_yet(self):
        assert self.results.count(True) == 0

    def test_fixture_of_the_class(self):
        check(self.results)

class TestThatLooks:
    def test_items(self):
        for result in race():
            assert result.error
        first, second = race()
        assert race()[:]
        last = race()
        assert last[0] and last[-1]

    def test_errors(self):
        assert race().errors
        with pytest.raises(ExceptionGroup):
            race().raise_errors()

    def test_comparison(self):
        assert race() != [True]
        assert not race() == [True]

    def test_text(self):
        assert "sold out" in str(race())

    def test_helper(self):
        check(race())

    def test_fixture(self, raced):
        check(raced)

    def test_finalizer(self, checked):
        pass

    def test_fixture_of_the_module(self, shared):
        assert shared.count(True) == 0

    def test_another_with_it(self, shared):
        check(shared)

    def test_nothing_is_wrong(self):
        results = call_concurrently(2, max, 1, 2)
        assert results.count(2) == 2

    def test_mistake(self):
        with pytest.raises(TypeError):
            call_concurrently(2, max)

    @on_database
    def test_exploration(self):
        call = increment, {"pk": Counter.objects.create(name="clicks").pk}
        assert explore(call, call).verdict == "race"
        assert explore(call, call).counterexample
        assert "lost update" in str(explore(call, call))
        with pytest.raises(AssertionError, match="lost update"):
            explore(call, call).assert_no_race()
        with pytest.raises(TypeError, match=r"assert explore\\(...\\).verdict == \\"no race\\""):
            bool(explore(call, call))

    def test_skipped(self):
        race()
        pytest.skip()
"""
NOT_LOOKED = ["count", "nothing", "one_item", "result_in_a_circle", "fixture", "exploration", "case"]


FAILING = """
def fail():
    raise LookupError("sold out")

def test_fails():
    results = call_concurrently(2, fail)
    assert results.count(True) == 1

class Old(TransactionTestCase):
    def test_fails(self):
        call_concurrently(2, fail)
        self.fail()
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """After a run of tests that pass, and of some that fail."""
    with Site(tmp_path_factory.mktemp("unread")) as site:
        site.write_tests(TESTS.replace("call_concurrently(2, max)", "call_concurrently(2, increment, kp=1)"))
        site.write_tests(FAILING, "test_failing.py")
        assert site.pytest() == 1
        yield site


def test_what_a_test_has_not_looked_at_is_warned_of_and_nothing_else(shop: Site) -> None:
    warned = shop.text.split("= warnings summary =")[1]
    assert set(re.findall(r"^test_shop\.py::(\S+)", warned, re.MULTILINE)) == {
        *(f"TestThatDoesNotLook::test_{name}" for name in NOT_LOOKED[:-1]),
        "OldTestThatDoesNotLook::test_case",
    }
    assert re.search(rf"= 2 failed, \d+ passed, 1 skipped, {len(NOT_LOOKED)} warnings in", shop.text)
    assert "UnreadResultWarning: 2 of 2 calls ended with an error that nobody has looked at." in warned
    assert "UnreadResultWarning: 1 of 2 calls" in warned
    assert "Write outcomes.raise_errors(), or look at outcomes.errors" in warned
    assert "The first: call 1 of 2, test_shop.fail(): LookupError: sold out" in warned
    assert "Nobody has looked at the verdict, 'race': explore(increment(pk=1), increment(pk=1)) asserts" in warned
    assert "Write explore(...).assert_no_race()" in warned
    place = (shop.folder / "test_shop.py").read_text().splitlines().index("    return call_concurrently(2, fail)") + 1
    assert f"test_shop.py:{place}: UnreadResultWarning" in warned


def test_a_test_that_fails_shows_what_it_has_not_looked_at_and_does_not_warn(shop: Site) -> None:
    sections = shop.text.split("- Not looked at -")[1:]
    assert len(sections) == 2
    assert all("2 of 2 calls ended with an error that nobody has looked at" in section for section in sections)
    assert "test_failing.py::" not in shop.text.split("= warnings summary =")[1].split("= short test summary")[0]


def test_where_warnings_are_errors_a_test_that_has_not_looked_fails(shop: Site) -> None:
    options = ["-W", "error::aioconcurrent.UnreadResultWarning", "-n", "1"]
    with shop.start("test_shop.py", *options, plugins=["xdist"]) as process:
        text, _ = process.communicate(timeout=600)
    failed = set(re.findall(r"^(FAILED|ERROR) test_shop\.py::\w+::test_(\w+)", text, re.MULTILINE))
    kept = {"fixture", "case"}  # what a fixture or a test case keeps may be looked at until the teardown
    assert failed == {("ERROR" if name in kept else "FAILED", name) for name in NOT_LOOKED}


def test_under_djangos_runner_a_warning_comes_when_the_result_is_dropped(site: Site) -> None:
    with_manage(site).write_tests("""
        import aioconcurrent

        def fail():
            raise LookupError("sold out")

        class Shop(TransactionTestCase):
            def test_count(self):
                results = call_concurrently(2, fail)
                self.assertEqual(results.count(True), 0)

            def test_kept(self):
                self.results = call_concurrently(2, fail)

            async def test_exploration(self):
                call = increment, {"pk": (await Counter.objects.acreate(name="clicks")).pk}
                await aioconcurrent.explore(call, call)

            def test_that_looks(self):
                self.assertEqual(len(call_concurrently(2, fail).errors), 2)
    """)
    assert site.python("manage.py", "test", "--noinput") == 0
    lines = (site.folder / "test_shop.py").read_text().splitlines()
    warned = [int(line) for line in re.findall(r"test_shop\.py:(\d+): UnreadResultWarning: ", site.text)]
    assert [lines[number - 1].strip() for number in sorted(warned)] == [
        "results = call_concurrently(2, fail)",
        "self.results = call_concurrently(2, fail)",
        "await aioconcurrent.explore(call, call)",
    ]
