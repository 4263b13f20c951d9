"""Calls that cannot be made as they are written: raised as mistakes of the test, and never handed out as outcomes."""

import functools
import re
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.test import Client

import aioconcurrent
from aioconcurrent.running.question import question
from aioconcurrent.sync import WrappedError, call_concurrently, explore, make_concurrent_calls, options, replay
from tests.project.echoes import echo, setting

pytest_plugins = ["tests.project.start_methods"]
both_start_methods = pytest.mark.usefixtures("start_method")


class Shop:
    def __init__(self, name: str = "", *, open_at: int = 9) -> None:
        self.name = name

    def __call__(self, seats: int) -> int:
        return seats

    def sell(self, seats: int, *, price: int = 7, show: object = None) -> int:
        return seats * price


def sell(seats: int, *, price: int = 7, show: object = object) -> int:
    return seats * price


async def sell_async(seats: int) -> int:
    return seats


def told(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return run


@told
def sell_told(seats: int) -> int:
    return seats


@told
async def sell_told_async(seats: int) -> int:
    return seats


@mock.patch("os.getcwd", return_value="shop")
def sell_mocked(getcwd: Callable[[], str], seats: int) -> str:
    return getcwd() * seats


def sell_badly(seats: int) -> int:
    return sell(seats, prize=3)  # type: ignore[call-arg]  # a defect of the application, which the test is there to find


@pytest.fixture(params=["fork", "inline"])
def quick_start_method(request: pytest.FixtureRequest) -> Iterator[None]:
    with options(start_method=request.param):
        yield


KNOWN_BEFORE: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], str]] = [
    (sell, (1,), {"prise": 2}, r"argument 'prise' \(did you mean 'price'\?\)\."),
    (
        sell,
        (1,),
        {"colour": 2},
        r"argument 'colour'\. .* sell\(seats, \*, price=7, show=\.\.\.\)\.$",
    ),
    (sell, (), {}, "missing a required.* argument: 'seats'"),
    (sell, (1, 2), {}, "too many positional arguments"),
    (sell, (1,), {"seats": 1}, "multiple values for argument 'seats'"),
    (sell_async, (), {"seat": 1}, ""),
    (Shop().sell, (), {}, r"sell\(seats, \*, price=7, show=None\)"),
    (partial(sell, 1), (2,), {}, "too many positional arguments"),
]
KNOWN_AFTER: list[tuple[Callable[..., Any] | str, dict[str, Any], str]] = [
    (
        "tests.test_mistakes:sell",
        {"prise": 2, "seats": 1},
        r"argument 'prise' \(did you mean 'price'",
    ),
    ("tests.test_mistakes:sell_async", {}, "missing a required.* argument: 'seats'"),
    (sell_told, {"seat": 1}, r"sell_told\(seats\)"),
    (sell_told_async, {"seat": 1}, r"sell_told_async\(seats\)"),
    (Shop(), {"seat": 1}, r"Shop\(seats\)"),
    (Shop, {"seats": 1}, r"Shop\(name='', \*, open_at=9\)"),
]


SELL = (sell, {"seats": 1})
TOKEN = "aioc1:0.1"


def one_is_sold(outcomes: Any) -> Any:
    outcomes.count(True) == 1  # noqa: B015 - it is the mistake


CORRECTED: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], str]] = [
    (explore, (sell, sell), {}, 'Write (sell, {"seats": ...}).'),
    (explore, (2, sell, 1), {}, "write *[(sell, [1])] * 2."),
    (explore, ((sell, 1), SELL), {}, "Call 1 is (sell, 1); "),
    (explore, ((sell, 1), SELL), {}, "Write (sell, [1])."),
    (explore, ((sell, [1], 2), SELL), {}, "Write (sell, [1, 2])."),
    (explore, ([SELL, SELL],), {}, "A list of calls is passed with a star, as *calls."),
    (explore, (SELL, SELL), {"chekc": one_is_sold}, "(did you mean 'check'?)"),
    (explore, (SELL, SELL), {"seats": 1}, 'as in (function, {"argument": 1}).'),
    (explore, (SELL, SELL), {"check": one_is_sold}, "Write `return outcomes.count(True) == 1"),
    (explore, (SELL, SELL), {"refusals": "IntegrityError"}, "refusals=(IntegrityError,)"),
    (explore, (("tests.test_mistakes.sell", [1]), SELL), {}, 'Write "tests.test_mistakes:sell".'),
    (explore, ((Client().post, ["/"]), SELL), {}, '(request, ["post", "/path/"], {"data": ...})'),
    (replay, (TOKEN, ...), {}, '"..." stands for the calls that the order was found with'),
    (replay, (SELL, SELL), {}, 'Write replay("aioc1:...", *calls)'),
    (replay, ("aioc1:0.4", SELL, SELL), {}, "an order of at least 5 calls, and 2 were passed"),
    (call_concurrently, (sell, 2), {}, "call_concurrently(5, function, ...)."),
    (call_concurrently, (1, sell, threading.Lock()), {}, "Pass plain data instead, such as a primary key"),
    (options, (), {"timout": 1}, "(did you mean 'timeout'?)"),
]


@pytest.mark.parametrize(("function", "args", "kwargs", "told"), CORRECTED, ids=[told for *_, told in CORRECTED])
def test_a_mistake_is_answered_with_the_corrected_line(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], told: str
) -> None:
    with pytest.raises(Exception, match=re.escape(told)):
        function(*args, **kwargs)


def test_a_coroutine_in_place_of_its_function_is_answered_so_too() -> None:
    with pytest.raises(TypeError, match=re.escape('beside it: (sell_async, {"argument": ...}).')):
        explore((sell_async(1), {}), SELL)


def test_a_rule_that_compares_and_says_so_is_taken() -> None:
    for check in (lambda outcomes: outcomes.count(True) == 1, lambda outcomes: 1 in outcomes and None):
        assert question((SELL, SELL), check=check, refusals=()).check is check


@pytest.mark.parametrize(("function", "args", "kwargs", "text"), KNOWN_BEFORE)
def test_a_call_that_does_not_fit_the_function_is_refused_before_anything_runs(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], text: str, tmp_path: Path
) -> None:
    calls: Any = ((tmp_path / "ran").touch, {}), (function, args, kwargs)
    for make in (make_concurrent_calls, explore):
        with pytest.raises(TypeError, match=f"^Cannot make call 2 of 2, .*: .*{text}"):
            make(*calls)
    assert not (tmp_path / "ran").exists()


@pytest.mark.usefixtures("quick_start_method")
@pytest.mark.parametrize(("function", "kwargs", "text"), KNOWN_AFTER)
def test_what_only_the_process_of_the_call_can_know_is_raised_when_all_calls_are_over(
    function: Callable[..., Any] | str, kwargs: dict[str, Any], text: str, tmp_path: Path
) -> None:
    with pytest.raises(TypeError, match=f"^Cannot make call 1 of 2, .*: .*{text}") as caught:
        make_concurrent_calls((function, kwargs), ((tmp_path / "ran").touch, {}))
    assert "mistake in the test" in caught.value.__notes__[0]
    assert (tmp_path / "ran").exists()


@both_start_methods
async def test_it_is_raised_by_the_awaitable_api() -> None:
    with pytest.raises(TypeError, match=r"Cannot make call 1 of 2, .*did you mean 'seats'"):
        await aioconcurrent.call_concurrently(2, sell_told, seat=1)


@pytest.mark.django_db(transaction=True)
def test_it_is_raised_by_explorations() -> None:
    with pytest.raises(TypeError, match=r"Cannot make call 1 of 2, .*did you mean 'seats'"):
        explore((sell_told, {"seat": 1}), (sell_told, {"seat": 1}))


@pytest.mark.usefixtures("quick_start_method")
@pytest.mark.parametrize("function", [sell_badly, told(sell_badly)], ids=["bare", "decorated"])
def test_a_type_error_inside_the_function_is_an_outcome(function: Callable[..., Any]) -> None:
    [wrapped] = call_concurrently(1, function, 1)
    assert isinstance(wrapped, WrappedError)
    assert isinstance(wrapped.error, TypeError)


@pytest.mark.usefixtures("quick_start_method")
def test_arguments_that_a_decorator_adds_are_not_missed() -> None:
    assert call_concurrently(1, sell_mocked, seats=2) == ["shopshop"]


def test_what_has_no_signature_is_just_called() -> None:
    outcomes = make_concurrent_calls((max, (1, 2), {}), (dict, {"a": 1}), (setting, {"name": "DEBUG"}), (echo, [1], {}))
    assert outcomes == [2, {"a": 1}, False, 1]
