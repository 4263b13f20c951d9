"""Libraries that stand in for the network do so in the calls, and know of their requests afterwards."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
import requests_mock
import responses
import respx

from aioconcurrent.sync import call_concurrently, make_concurrent_calls
from tests.project import http_calls
from tests.project.http_calls import URL

pytest_plugins = ["tests.project.start_methods"]
both_start_methods = pytest.mark.usefixtures("start_method")


@both_start_methods
@responses.activate
def test_responses_answers_in_the_calls_and_knows_of_the_requests() -> None:
    route = responses.post(URL, json={"id": 7}, status=201)
    responses.get(URL + "/nobody", json={})
    assert list(call_concurrently(2, http_calls.ask_requests)) == [(201, {"id": 7})] * 2
    made: Any = responses.calls
    assert [json.loads(str(call.request.body, "utf-8")) for call in made] == [{"amount": 1}] * 2
    assert made[0].response.json() == {"id": 7}
    assert route.call_count == 2
    responses.assert_call_count(URL, 2)


def test_a_mock_of_responses_that_wants_all_requests_made_is_content_with_those_of_calls() -> None:
    with responses.RequestsMock() as mock:
        mock.post(URL, json={"id": 7}, match=[responses.matchers.json_params_matcher({"amount": 1})])
        assert list(call_concurrently(1, http_calls.ask_requests)) == [(200, {"id": 7})]


def test_a_callback_of_responses_answers_in_the_calls() -> None:
    with responses.RequestsMock() as mock:
        mock.add_callback("POST", URL, callback=_echo)
        assert list(call_concurrently(1, http_calls.ask_requests, 5)) == [(200, {"amount": 5})]


@responses.activate
def test_a_request_that_responses_does_not_know_is_refused_in_the_calls() -> None:
    [wrapped] = call_concurrently(1, http_calls.ask_requests).errors
    assert "Connection refused by Responses" in str(wrapped.error)


@both_start_methods
def test_requests_mock_answers_in_the_calls_and_knows_of_the_requests() -> None:
    with requests_mock.Mocker() as mock:
        route = mock.post(URL, json={"id": 7}, status_code=201)
        mock.get(requests_mock.ANY, text="anything")
        assert list(call_concurrently(2, http_calls.ask_requests)) == [(201, {"id": 7})] * 2
        assert [request.json() for request in mock.request_history] == [{"amount": 1}] * 2
        assert route.call_count == mock.call_count == 2


def test_of_mockers_one_in_the_other_the_inner_one_answers_first() -> None:
    with requests_mock.Mocker() as outer:
        outer.post(URL, json="outer")
        with requests_mock.Mocker(real_http=True) as inner:
            assert list(call_concurrently(1, http_calls.ask_requests)) == [(200, "outer")]
            inner.post(URL, json="inner")
            assert list(call_concurrently(1, http_calls.ask_requests)) == [(200, "inner")]
    assert (outer.call_count, inner.call_count) == (1, 2)


@both_start_methods
@respx.mock
def test_respx_answers_in_the_calls_and_knows_of_the_requests() -> None:
    route = respx.post(URL).mock(return_value=httpx.Response(201, json={"id": 7}))
    assert list(call_concurrently(2, http_calls.ask_httpx)) == [(201, {"id": 7})] * 2
    assert list(call_concurrently(1, http_calls.aask_httpx)) == [(201, {"id": 7})]
    assert [json.loads(call.request.content) for call in route.calls] == [{"amount": 1}] * 3
    assert route.call_count == respx.calls.call_count == 3


def test_a_side_effect_of_respx_takes_place_in_the_calls() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=json.loads(request.content)["amount"] + 1)

    with respx.mock(using="httpx") as router:
        router.post(URL).mock(side_effect=answer)
        calls: list[Any] = [(http_calls.ask_httpx, {"amount": 1}), (http_calls.ask_httpx, {"amount": 2})]
        assert list(make_concurrent_calls(*calls)) == [(200, 2), (200, 3)]


def _echo(request: Any) -> tuple[int, dict[str, str], Any]:
    return 200, {}, request.body
