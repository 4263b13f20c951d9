"""The tests of `aioconcurrent.http`, run by `tests/test_http.py`."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client

import aioconcurrent
from aioconcurrent.http import Response, request
from aioconcurrent.sync import call_concurrently, make_concurrent_calls, options
from tests.project.shop.models import Show, Ticket

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def user() -> User:
    return User.objects.create_user("ann")


@pytest.fixture
def show() -> Show:
    return Show.objects.create(title="Hamlet", seats_left=1)


def test_a_view_is_called_by_a_user_who_is_logged_in(user: User, show: Show) -> None:
    [response] = call_concurrently(1, request, "post", "/buy/", {"show": show.pk}, user=user).values
    assert (response.status_code, response.json()) == (201, {"sold": True})
    assert Ticket.objects.get().buyer == "ann"


def test_a_user_is_named_by_the_primary_key_too(user: User) -> None:
    [response] = call_concurrently(1, request, "get", "/whoami/", user=user.pk).values
    assert response.text == "GET ann "


def test_without_a_user_nobody_is_logged_in(show: Show) -> None:
    [response] = call_concurrently(1, request, "post", "/buy/", {"show": show.pk}).values
    assert (response.status_code, response.headers["Location"]) == (302, "/accounts/login/?next=/buy/")


def test_requests_are_in_their_views_at_the_same_time_each_in_a_session_of_its_own(user: User, show: Show) -> None:
    outcomes = call_concurrently(2, request, "post", "/meet/", {"show": show.pk}, user=user)
    assert [response.text for response in outcomes.values] == ["met", "met"]
    assert Session.objects.count() == 2


def test_logging_in_comes_before_the_common_start() -> None:
    outcomes = call_concurrently(1, request, "get", "/whoami/", user=12345)
    [wrapped] = outcomes.errors
    assert isinstance(wrapped.error, User.DoesNotExist)
    assert "was getting ready" in wrapped.error.__notes__[0]
    assert outcomes.reports[0].started is None


def test_a_session_of_the_test_is_shared_by_its_cookies(client: Client, user: User, show: Show) -> None:
    client.force_login(user)
    outcomes = call_concurrently(2, request, "post", "/buy/", {"show": show.pk}, cookies=client.cookies)
    outcomes.raise_errors()
    assert 201 in [response.status_code for response in outcomes.values]


def test_a_view_of_rest_framework_takes_json(user: User, show: Show) -> None:
    outcomes = call_concurrently(1, request, "post", "/api/buy/", {"show": show.pk}, user=user, format="json")
    [response] = outcomes.values
    assert (response.status_code, response.json()) == (201, {"sold": True})
    assert response.headers["Content-Type"] == "application/json"


def test_a_client_is_chosen_by_its_name(user: User, show: Show) -> None:
    data, client = {"show": show.pk}, "rest_framework.test.APIClient"
    [response] = call_concurrently(1, request, "post", "/api/buy/", data, user=user, client=client).values
    assert response.status_code == 201
    [response] = call_concurrently(1, request, "post", "/api/buy/", data, client=client).values
    assert response.status_code == 403


@pytest.mark.anyio
async def test_a_view_that_is_a_coroutine_function_and_a_call_that_is_awaited(user: User, show: Show) -> None:
    data: Any = {"show": show.pk}
    outcomes = await aioconcurrent.call_concurrently(
        2, request, "post", "/buy/later/", data, user=user, content_type="application/json"
    )
    assert [response.status_code for response in outcomes.values] == [201, 201]


def test_what_a_view_raises_is_the_error_of_the_call() -> None:
    [wrapped] = call_concurrently(1, request, "get", "/fail/").errors
    assert isinstance(wrapped.error, LookupError)
    assert wrapped.error.args == ("/fail/",)


def test_what_a_view_raises_can_be_a_response() -> None:
    [response] = call_concurrently(1, request, "get", "/fail/", raise_request_exception=False).values
    assert response.status_code == 500


def test_every_method_of_http_can_be_used() -> None:
    methods = ["GET", "post", "put", "patch", "delete", "options", "trace"]
    outcomes = make_concurrent_calls(*((request, (method, "/whoami/"), {}) for method in methods))
    assert [response.text.split()[0] for response in outcomes.values] == [method.upper() for method in methods]


def test_options_of_the_client_are_passed_on() -> None:
    [response] = call_concurrently(1, request, "get", "/whoami/", {"ask": "why"}).values
    assert response.text == "GET  why"
    [response] = call_concurrently(1, request, "get", "/moved/", follow=True).values
    assert response.status_code == 200
    assert response.cookies == {"seen": "1"}


def test_a_streaming_response_comes_whole() -> None:
    [response] = call_concurrently(1, request, "get", "/stream/").values
    assert response.text == "Löwenzahn"


def test_a_method_that_does_not_exist_is_refused() -> None:
    with options(start_method="inline"):
        [wrapped] = call_concurrently(1, request, "force_login", "/buy/").errors
    assert "one of get, post, put, patch, delete, head, options, trace, not 'force_login'" in str(wrapped.error)


def test_responses_can_be_compared() -> None:
    assert Response(200, b"a", {}, {}) == Response(200, b"a", {}, {}) != Response(200, b"b", {}, {})


def test_the_response_of_a_client_cannot_travel_and_the_text_says_what_can() -> None:
    def whoami() -> object:
        return Client().get("/whoami/")

    [wrapped] = call_concurrently(1, whoami).errors
    assert "Return plain data instead, such as a primary key or the status code of a response" in str(wrapped)
    assert "or let aioconcurrent.http.request make the request" in str(wrapped)
