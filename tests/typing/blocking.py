"""Calls with `aioconcurrent.sync`."""

from functools import partial
from typing import Any, assert_type

from aioconcurrent.http import Response, request
from aioconcurrent.sync import Outcomes, WrappedError, call_concurrently, make_concurrent_calls, options
from tests.typing.targets import Shop, Till, buy, buy_in_coroutine, close, first


def check_that_outcomes_are_of_what_the_function_returns() -> None:
    assert_type(call_concurrently(5, buy, product_id=1), Outcomes[bool])
    assert_type(call_concurrently(5, buy, 1, gift=True), Outcomes[bool])
    assert_type(call_concurrently(5, buy_in_coroutine, product_id=1), Outcomes[str])
    assert_type(call_concurrently(5, close), Outcomes[None])
    assert_type(call_concurrently(5, lambda: 7), Outcomes[int])
    assert_type(call_concurrently(5, Till(), amount=1), Outcomes[float])
    assert_type(call_concurrently(5, Shop[int]("corner").sell, 1), Outcomes[tuple[str, int]])
    assert_type(call_concurrently(5, Shop[int]("corner").deliver, 1, 2), Outcomes[list[int]])
    assert_type(call_concurrently(5, Shop[int], "corner"), Outcomes[Shop[int]])
    assert_type(call_concurrently(5, partial(buy, gift=True), 1), Outcomes[bool])
    assert_type(call_concurrently(5, first, ["a"]), Outcomes[str])


def check_that_requests_are_calls() -> None:
    outcomes = call_concurrently(5, request, "post", "/buy/", {"show": 7}, user=1, format="json")
    assert_type(outcomes, Outcomes[Response])
    call_concurrently(5, request, "post")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


def check_that_an_item_is_a_value_or_an_error() -> None:
    outcomes = call_concurrently(5, buy, product_id=1)
    assert_type(outcomes[0], bool | WrappedError)
    assert_type(outcomes.values, list[bool])
    assert_type(outcomes.errors, list[WrappedError])
    for outcome in outcomes:
        if isinstance(outcome, WrappedError):
            outcome.reraise()
        assert_type(outcome, bool)
    _error: WrappedError = outcomes[0]  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


def check_that_wrong_arguments_are_errors() -> None:
    call_concurrently(5, buy, product=1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    call_concurrently(5, buy, "1")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    call_concurrently(5, buy)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    call_concurrently(5, buy, 1, True)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    call_concurrently(5, close, 1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    call_concurrently(5, buy_in_coroutine, product=1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    call_concurrently(5, Till(), sum=1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    call_concurrently("5", buy, product_id=1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    call_concurrently(5, 7)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    call_concurrently(5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


def check_that_a_string_takes_anything() -> None:
    assert_type(call_concurrently(5, "shop.views:buy", 1, product="x"), Outcomes[Any])


def check_that_the_names_of_ours_are_free_for_arguments() -> None:
    def told(concurrency: int, function: str) -> int:
        return concurrency + len(function)

    assert_type(call_concurrently(5, told, concurrency=1, function="x"), Outcomes[int])


def check_that_calls_are_written_in_every_form() -> None:
    outcomes = make_concurrent_calls((buy, {"product_id": 1}), (buy, [1], {"gift": True}), partial(buy, 1))
    assert_type(outcomes, Outcomes[Any])
    plain: Outcomes = outcomes
    assert_type(plain, Outcomes[Any])


@options(timeout=2)
def decorated(product_id: int) -> bool:
    with options(start_method="spawn", prepare=close) as chosen:
        assert_type(chosen, options)
    return product_id > 0


@options(prepare="shop.mocks:install")
async def decorated_coroutine(product_id: int) -> str:
    return str(product_id)


async def check_that_a_decorated_function_keeps_its_type() -> None:
    assert_type(decorated(product_id=1), bool)
    assert_type(await decorated_coroutine(product_id=1), str)
    decorated(product=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    assert_type(call_concurrently(5, decorated, product_id=1), Outcomes[bool])


def check_that_options_are_known() -> None:
    options(time_out=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    options(timeout="2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
