"""Options: where they can be set, which one counts, and what is refused."""

import os
import re
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from django.test import TransactionTestCase, override_settings

import aioconcurrent
from aioconcurrent import TerminatedProcessError
from aioconcurrent.running.options import Options, current_options, editor_address, environment_variable
from aioconcurrent.sync import call_concurrently, options, override_environment
from tests.project import prepared
from tests.project.echoes import echo
from tests.project.shop.models import Counter

pytest_plugins = ["tests.project.start_methods"]

README = Path(__file__).parents[1] / "README.md"

both_start_methods = pytest.mark.usefixtures("start_method")


def test_the_defaults() -> None:
    assert current_options() == Options(30.0, "fork", None, allow_real_databases=False)


def test_the_table_of_the_readme_has_every_option_with_its_variable_and_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(AIOCONCURRENT_\w+)` \| (.+?) \|", README.read_text(), re.MULTILINE)
    told = {
        "start_method": "`fork` on Linux, else `spawn`",
        "step_timeout": "10, or `timeout` if less",
        "queues": "known ones",
        "seed": "0",
    }
    named: dict[object, str] = {None: "none", (): "none", False: "off"}
    assert {name: (variable, default) for name, variable, default in rows} == {
        name: (environment_variable(name), told.get(name) or named.get(default) or _written(default))
        for name, default in ((each.name, each.default) for each in fields(Options))
        if name != "replay"
    }


def _written(default: object) -> str:
    return f"`{default}`" if isinstance(default, str) else f"{default:g}"


def test_options_come_before_the_environment_and_that_before_the_setting() -> None:
    with override_settings(AIOCONCURRENT={"timeout": 1, "start_method": "spawn", "allow_real_databases": True}):
        assert current_options().timeout == 1
        with override_environment(AIOCONCURRENT_TIMEOUT="2", AIOCONCURRENT_START_METHOD="inline"):
            assert current_options().timeout == 2
            with options(timeout=3):
                assert current_options() == Options(3, "inline", None, allow_real_databases=True)
            assert current_options().timeout == 2
        assert current_options() == Options(1, "spawn", None, allow_real_databases=True)


def test_every_option_can_be_in_the_environment() -> None:
    with override_environment(
        AIOCONCURRENT_TIMEOUT="0.5",
        AIOCONCURRENT_START_METHOD="spawn",
        AIOCONCURRENT_PREPARE="os:getcwd",
        AIOCONCURRENT_ALLOW_REAL_DATABASES="1",
        AIOCONCURRENT_START_TIMEOUT="200",
        AIOCONCURRENT_STEP_TIMEOUT="20",
        AIOCONCURRENT_ALLOW_THREADS="heartbeat*, shop.jobs",
    ):
        assert current_options() == Options(
            0.5,
            "spawn",
            "os:getcwd",
            allow_real_databases=True,
            start_timeout=200,
            step_timeout=20,
            allow_threads=["heartbeat*", "shop.jobs"],
        )


@pytest.mark.parametrize(("text", "value"), [("1", True), ("True", True), ("on", True), ("0", False), ("no", False)])
def test_a_flag_in_the_environment(text: str, value: bool) -> None:
    with override_environment(AIOCONCURRENT_ALLOW_REAL_DATABASES=text):
        assert current_options().allow_real_databases is value


@pytest.mark.parametrize(
    ("text", "places", "has_cluster"), [("3", 3, False), ("auto", None, False), ("tcp://scheduler:8786", 1, True)]
)
def test_workers_are_a_number_of_places_here_or_those_of_a_cluster(
    text: str, places: int | None, has_cluster: bool
) -> None:
    with override_environment(AIOCONCURRENT_WORKERS=text):
        assert current_options().has_cluster is has_cluster
        assert current_options().places == (places or len(os.sched_getaffinity(0)))


@pytest.mark.parametrize("bad", ["many", "scheduler:8786", 0, object()])
def test_what_is_neither_a_number_nor_a_cluster_is_no_workers(bad: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^options\(\): workers must be"):
        options(workers=bad)


def test_an_empty_variable_sets_nothing() -> None:
    with override_environment(AIOCONCURRENT_TIMEOUT="", AIOCONCURRENT_START_METHOD=""):
        assert current_options() == Options()


def test_inner_options_change_only_what_they_name() -> None:
    with options(timeout=3, start_method="spawn"), options(timeout=4):
        assert current_options() == Options(4, "spawn")


def test_options_end_with_an_exception() -> None:
    with pytest.raises(LookupError), options(timeout=3):
        raise LookupError
    assert current_options().timeout == 30


@pytest.mark.parametrize(
    ("given", "seconds"), [({}, 10), ({"timeout": 3}, 3), ({"step_timeout": 40}, 40), ({"step_timeout": 1}, 1)]
)
def test_a_step_has_ten_seconds_or_the_time_of_a_call_unless_it_is_given_a_limit(
    given: dict[str, Any], seconds: float
) -> None:
    with options(**given):
        assert current_options().step_limit == seconds


def test_an_option_can_be_set_back_to_nothing() -> None:
    with options(prepare="os:getcwd"), options(prepare=None):
        assert current_options().prepare is None


def test_the_same_options_can_be_entered_again() -> None:
    chosen = options(timeout=3)
    with chosen, options(timeout=4), chosen:
        assert current_options().timeout == 3
    assert current_options().timeout == 30


def test_a_decorated_function_has_the_options_in_each_of_its_runs() -> None:
    @options(timeout=3)
    def limit(depth: int) -> list[float]:
        """What it does."""
        return [current_options().timeout, *(limit(depth - 1) if depth else [])]

    assert limit(2) == [3, 3, 3]
    assert limit.__doc__ == "What it does."
    assert current_options().timeout == 30


async def test_a_decorated_coroutine_function_has_the_options_while_it_runs() -> None:
    @options(start_method="inline")
    async def pid() -> int:
        return (await aioconcurrent.call_concurrently(1, os.getpid)).values[0]

    assert await pid() == os.getpid()
    assert current_options() == Options()


def limit() -> float:
    return current_options().timeout


def plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that hides what kind of function it is."""
    return lambda: function()


@pytest.mark.parametrize("hide", [lambda function: function, plain], ids=["open", "hidden"])
def test_a_decorated_generator_has_the_options_while_it_runs_and_whoever_uses_it_has_not(
    hide: Callable[[Callable[..., Any]], Callable[..., Any]],
) -> None:
    def limits() -> Generator[object, float, float]:
        try:
            sent = yield limit()
            yield sent, limit()
        except LookupError:
            yield limit()
        return limit()

    seen: list[float] = []

    def use() -> Generator[object, float, None]:
        seen.append((yield from options(timeout=3)(hide(limits))()))

    generator = use()
    assert (next(generator), limit()) == (3, 30)
    assert (generator.send(4), limit()) == ((4, 3), 30)
    assert (generator.throw(LookupError), limit()) == (3, 30)
    assert next(generator, "done") == "done"
    assert seen == [3]
    assert limit() == 30


@pytest.mark.parametrize("error", [None, LookupError])
async def test_a_decorated_async_generator_has_the_options_while_it_runs_and_whoever_uses_it_has_not(
    error: type[Exception] | None,
) -> None:
    seen: list[float] = []

    @asynccontextmanager
    @options(timeout=3)
    async def limited() -> AsyncIterator[float]:
        try:
            yield limit()
        finally:
            seen.append(limit())

    with pytest.raises(error) if error else nullcontext():
        async with limited() as inside:
            assert (inside, limit()) == (3, 30)
            if error is not None:
                raise error
    assert seen == [3]
    assert limit() == 30


def test_a_decorated_generator_can_be_left_early() -> None:
    seen: list[float] = []

    @options(timeout=3)
    def limits() -> Iterator[float]:
        try:
            yield limit()
        finally:
            seen.append(limit())

    generator = limits()
    assert next(generator) == 3
    generator.close()  # type: ignore[attr-defined]
    assert seen == [3]


async def test_a_decorated_function_that_returns_a_coroutine_has_the_options_until_it_is_over() -> None:
    async def look() -> float:
        return limit()

    decorated = options(timeout=3)(plain(look))
    assert await decorated() == 3
    assert limit() == 30


@options(timeout=3)
class TestWithOptions:
    seen: ClassVar[list[object]] = []

    @classmethod
    def setup_class(cls) -> None:
        cls.seen.append(limit())

    def setup_method(self, method: Callable[..., None]) -> None:
        self.seen[1:] = [limit(), method]

    def teardown_method(self) -> None:
        assert limit() == 3

    def helper(self) -> float:
        return limit()

    def test_tests_have_them_and_what_is_around_tests(self) -> None:
        assert [*self.seen, limit()] == [3, 3, self.test_tests_have_them_and_what_is_around_tests, 3]

    @pytest.mark.parametrize("expected", [3])
    def test_marks_stay(self, expected: float) -> None:
        assert limit() == expected

    async def test_coroutines_have_them(self) -> None:
        assert limit() == 3

    @staticmethod
    def test_static_methods_have_them() -> None:
        assert limit() == 3

    @options(max_seconds=5)
    def test_a_method_may_have_more(self) -> None:
        assert current_options() == replace(Options(), timeout=3, max_seconds=5)

    @options(timeout=4)
    def test_the_nearest_count(self) -> None:
        assert self.helper() == limit() == 4


class Inherited:
    def test_inherited(self) -> None:
        assert limit() == self.expected  # type: ignore[attr-defined]


@options(timeout=3)
class TestInheritedWithOptions(Inherited):
    expected = 3


class TestInheritedWithoutOptions(Inherited):
    expected = 30


@options(timeout=3)
class TestCaseWithOptions(TransactionTestCase):
    def setUp(self) -> None:
        self.limits = [limit()]

    def test_django(self) -> None:
        assert [*self.limits, limit()] == [3, 3]

    async def test_django_coroutine(self) -> None:
        assert [*self.limits, limit()] == [3, 3]


@pytest.fixture
@options(timeout=3)
def limits_of_fixture() -> Iterator[list[float]]:
    limits = [limit()]
    yield limits
    assert [*limits, limit()] == [3, 30, 3]


def test_a_decorated_fixture_has_the_options_and_the_test_has_not(limits_of_fixture: list[float]) -> None:
    limits_of_fixture.append(limit())


def test_what_cannot_be_decorated_is_refused() -> None:
    class Shop:
        def sell(self) -> None: ...

    with pytest.raises(TypeError, match=r"is for its tests, and .*Shop has no method whose name begins with \"test\""):
        options(timeout=3)(Shop)
    with pytest.raises(TypeError, match=r"has to be below @pytest\.fixture"):
        options(timeout=3)(pytest.fixture(limit))
    with pytest.raises(TypeError, match="decorates functions, and classes of tests, not 3"):
        options(timeout=3)(3)  # type: ignore[type-var]


async def test_options_of_one_task_are_not_those_of_another() -> None:
    import anyio

    inside, outside = anyio.Event(), anyio.Event()
    seen: list[float] = []

    async def choose() -> None:
        with options(timeout=3):
            inside.set()
            await outside.wait()

    async def look() -> None:
        await inside.wait()
        seen.append(current_options().timeout)
        outside.set()

    async with anyio.create_task_group() as group:
        group.start_soon(choose)
        group.start_soon(look)
    assert seen == [30]


async def test_options_hold_for_the_awaitable_api() -> None:
    with options(timeout=0.2):
        [wrapped] = (await aioconcurrent.call_concurrently(1, time.sleep, 60)).errors
    assert isinstance(wrapped.error, TerminatedProcessError)
    assert wrapped.error.timeout == 0.2


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"timeout": "3"}, TypeError, "timeout must be a number of seconds, not '3'"),
    ({"timeout": None}, TypeError, "timeout must be a number of seconds, not None"),
    ({"timeout": True}, TypeError, "timeout must be a number of seconds, not True"),
    ({"timeout": 0}, ValueError, "timeout must be more than 0 seconds and finite, not 0"),
    ({"timeout": -1.5}, ValueError, "timeout must be more than 0 seconds and finite, not -1.5"),
    ({"timeout": float("nan")}, ValueError, "timeout must be more than 0 seconds and finite, not nan"),
    ({"timeout": float("inf")}, ValueError, "timeout must be more than 0 seconds and finite, not inf"),
    ({"start_method": "thread"}, ValueError, "start_method must be one of fork, spawn, inline, not 'thread'"),
    ({"processes": "new"}, ValueError, "processes must be one of fresh, reused, not 'new'"),
    ({"start_method": None}, ValueError, "start_method must be one of fork, spawn, inline, not None"),
    ({"start_method": ["fork"]}, ValueError, r"start_method must be one of fork, spawn, inline, not \['fork'\]"),
    ({"prepare": 3}, TypeError, "prepare is 3, which is not callable"),
    ({"prepare": "os.getcwd"}, ValueError, "prepare is 'os.getcwd'; a string target has the form"),
    ({"prepare": aioconcurrent.call_concurrently}, TypeError, "prepare must be a plain function"),
    ({"start_timeout": 0}, ValueError, "start_timeout must be more than 0 seconds and finite, not 0"),
    ({"step_timeout": "1"}, TypeError, "step_timeout must be a number of seconds, not '1'"),
    ({"editor": "emacs"}, ValueError, "editor must be one of vscode, pycharm, or an address such as"),
    ({"editor": ["vscode"]}, ValueError, "editor must be one of vscode, pycharm"),
    ({"allow_threads": "heartbeat"}, TypeError, "allow_threads must be a list of strings, not 'heartbeat'"),
    ({"allow_threads": [1]}, TypeError, r"allow_threads must be a list of strings, not \[1\]"),
    ({"allow_real_databases": 1}, TypeError, "allow_real_databases must be True or False, not 1"),
]


@pytest.mark.parametrize(("given", "error", "said"), BAD, ids=[said for _, _, said in BAD])
def test_a_bad_value_is_refused_where_it_is_written(given: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=rf"^options\(\): {said}"):
        options(**given)


@pytest.mark.parametrize(("given", "error", "said"), BAD, ids=[said for _, _, said in BAD])
def test_a_bad_value_in_the_setting_is_refused_at_the_race(
    given: dict[str, Any], error: type[Exception], said: str
) -> None:
    with override_settings(AIOCONCURRENT=given), pytest.raises(error, match=f"^The setting AIOCONCURRENT: {said}"):
        call_concurrently(1, os.getpid)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"AIOCONCURRENT_TIMEOUT": "soon"}, "AIOCONCURRENT_TIMEOUT must be a number of seconds, not 'soon'"),
        ({"AIOCONCURRENT_TIMEOUT": "-1"}, "timeout must be more than 0 seconds"),
        ({"AIOCONCURRENT_START_METHOD": "thread"}, "start_method must be one of"),
        ({"AIOCONCURRENT_PREPARE": "os.getcwd"}, "prepare is 'os.getcwd'; a string target has the form"),
        ({"AIOCONCURRENT_ALLOW_REAL_DATABASES": "maybe"}, "ALLOW_REAL_DATABASES must be 1 or 0, not 'maybe'"),
    ],
)
def test_a_bad_value_in_the_environment_is_refused_at_the_race(variables: dict[str, str], said: str) -> None:
    with override_environment(**variables), pytest.raises(ValueError, match=said):
        call_concurrently(1, os.getpid)


def test_an_option_that_does_not_exist_is_refused() -> None:
    text = r"^options\(\) got an unexpected keyword argument 'time_out' \(did you mean 'timeout'\?\)\.$"
    with pytest.raises(TypeError, match=text):
        options(time_out=3)  # type: ignore[call-arg]
    with (
        override_settings(AIOCONCURRENT={"time_out": 3}),
        pytest.raises(ValueError, match="The setting AIOCONCURRENT has no option 'time_out'; there are timeout, "),
    ):
        call_concurrently(1, os.getpid)


def test_a_setting_that_is_no_dict_is_refused() -> None:
    with override_settings(AIOCONCURRENT=3), pytest.raises(TypeError, match="must be a dict of options, not 3"):
        call_concurrently(1, os.getpid)


def test_override_environment_restores_what_was_there_also_after_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP", "open")
    monkeypatch.delenv("DOOR", raising=False)
    with override_environment(SHOP="closed", DOOR="locked"):
        assert (os.environ["SHOP"], os.environ["DOOR"]) == ("closed", "locked")
    assert os.environ["SHOP"] == "open"
    assert "DOOR" not in os.environ
    with pytest.raises(LookupError), override_environment(SHOP="closed", DOOR="locked"):
        raise LookupError
    assert os.environ["SHOP"] == "open"
    assert "DOOR" not in os.environ


def test_override_environment_unsets_with_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP", "open")
    with override_environment(SHOP=None, DOOR=None):
        assert "SHOP" not in os.environ
    assert os.environ["SHOP"] == "open"
    assert "DOOR" not in os.environ


def test_override_environment_refuses_what_is_no_string() -> None:
    with (
        pytest.raises(TypeError, match="The environment variable PORT must be a string or None, not 8000"),
        override_environment(SHOP="closed", PORT=8000),  # type: ignore[arg-type]
    ):
        pytest.fail("was entered")
    assert "SHOP" not in os.environ


@both_start_methods
@pytest.mark.parametrize(
    "prepare",
    [prepared.prepare, "tests.project.prepared:prepare", lambda: prepared.prepare()],
    ids=["function", "string", "lambda"],
)
def test_prepare_runs_before_the_barrier_in_each_wrapper(prepare: str | Callable[[], None]) -> None:
    with options(prepare=prepare):
        outcomes = call_concurrently(3, prepared.when)
    times = outcomes.values
    assert len(set(times)) == 3
    starts = [report.started for report in outcomes.reports if report.started is not None]
    assert max(times) < min(starts)
    assert not prepared.TIMES, "prepare ran in the caller's process"


@both_start_methods
def test_prepare_is_the_place_for_mocks() -> None:
    def freeze() -> None:
        time.time = lambda: 1_000_000.0

    with options(prepare=freeze):
        assert call_concurrently(2, lambda: time.time()) == [1_000_000.0, 1_000_000.0]
    assert call_concurrently(1, lambda: time.time()).values[0] > 1_000_000


@both_start_methods
def test_prepare_that_fails_fails_the_calls_and_says_when() -> None:
    with options(prepare=prepared.fail):
        outcomes = call_concurrently(2, echo, 1)
    for wrapped in outcomes:
        assert isinstance(wrapped.error, LookupError)
        assert any("was running prepare" in note for note in wrapped.error.__notes__)
    assert [report.started for report in outcomes.reports] == [None, None]


@pytest.mark.django_db(transaction=True)
@both_start_methods
def test_prepare_has_the_database_of_the_test() -> None:
    with options(prepare=prepared.count_counters):
        Counter.objects.create(name="clicks")
        assert call_concurrently(1, prepared.when) == [1]


def test_an_editor_is_a_known_one_or_an_address() -> None:
    assert editor_address() == ""
    with options(editor="pycharm"):
        assert editor_address() == "pycharm://open?file={file}&line={line}"
    with override_environment(AIOCONCURRENT_EDITOR="zed://file/{file}:{line}"):
        assert editor_address() == "zed://file/{file}:{line}"
