"""Calls with `aioconcurrent`, whose types are those of `aioconcurrent.sync`, awaited."""

from functools import partial
from typing import Any, assert_type

from aioconcurrent import Outcomes, call_concurrently, make_concurrent_calls
from tests.typing.targets import Shop, buy, buy_in_coroutine, close


async def check_that_outcomes_are_of_what_the_function_returns() -> None:
    assert_type(await call_concurrently(5, buy, product_id=1), Outcomes[bool])
    assert_type(await call_concurrently(5, buy_in_coroutine, product_id=1), Outcomes[str])
    assert_type(await call_concurrently(5, close), Outcomes[None])
    assert_type(await call_concurrently(5, Shop[int]("corner").deliver, 1, 2), Outcomes[list[int]])
    assert_type((await call_concurrently(5, buy, product_id=1)).values, list[bool])


async def check_that_wrong_arguments_are_errors() -> None:
    await call_concurrently(5, buy, product=1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    await call_concurrently(5, buy)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    await call_concurrently(5, buy_in_coroutine, product=1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


async def check_that_a_string_takes_anything() -> None:
    assert_type(await call_concurrently(5, "shop.views:buy", 1, product="x"), Outcomes[Any])


async def check_that_calls_are_written_in_every_form() -> None:
    calls = (buy, {"product_id": 1}), (buy, [1], {"gift": True}), partial(buy, 1)
    assert_type(await make_concurrent_calls(*calls), Outcomes[Any])


def check_that_it_has_to_be_awaited() -> None:
    _outcomes: Outcomes[bool] = call_concurrently(5, buy, product_id=1)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
