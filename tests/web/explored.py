"""Requests and sessions, explored; run by `tests/truth/test_requests.py` on one database after another."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session

from aioconcurrent.http import request
from aioconcurrent.sync import Exploration, InconclusiveError, explore
from tests.project.databases import times
from tests.project.shop.models import Account, Counter, Coupon
from tests.web import sessions

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def account() -> Account:
    return Account.objects.create(balance=1)


def asked(path: str, **options: Any) -> list[Any]:
    return [(request, ["get", path], options)] * 2


def is_safe(found: Exploration) -> None:
    assert (found.verdict, found.exhaustive) == ("no race", True), found


def is_race(found: Exploration) -> None:
    assert found.verdict == "race", found


@pytest.mark.parametrize("turn", times(3))
@pytest.mark.parametrize(("path", "verdict"), [("/deposit/", "no race"), ("/deposit_badly/", "race")])
def test_requests_of_two_users(path: str, verdict: str, turn: int) -> None:
    users = [User.objects.create_user(name) for name in ("alice", "bob")]
    found = explore(*((request, ["get", path], {"user": user}) for user in users))
    assert found.verdict == verdict, found
    assert not Session.objects.exists()
    assert not User.objects.exclude(last_login=None).exists()


def test_requests_of_one_user() -> None:
    user = User.objects.create_user("alice")
    is_safe(explore(*asked("/deposit/", user=user)))
    is_race(explore(*asked("/deposit_badly/", user=user.pk)))


def test_pages_differ_by_what_is_no_luck() -> None:
    is_safe(explore(*asked("/form/")))
    found = explore(*asked("/form/?number"))
    is_race(found)
    assert "Content-Length" not in str(found.counterexample)


def test_answers_in_json_are_compared_by_what_is_no_luck() -> None:
    is_safe(explore(*asked("/made/")))
    found = explore(*asked("/numbered/"))
    is_race(found)
    assert "Content-Length" not in str(found.counterexample)


def test_redirects_are_compared_by_where_they_lead() -> None:
    is_safe(explore(*asked("/make_and_go/")))
    is_race(explore(*asked("/join/")))


def test_rows_that_do_not_matter_are_left_out_of_requests() -> None:
    Counter.objects.create(name="visits")
    is_race(explore(*asked("/logged/")))
    is_safe(explore(*asked("/logged/"), ignore=(Counter,)))  # type: ignore[call-arg, unused-ignore]
    is_safe(explore(*asked("/logged/"), ignore=("shop.Counter.value",)))  # type: ignore[call-arg, unused-ignore]
    is_race(explore(*asked("/logged/"), ignore=(Coupon,)))  # type: ignore[call-arg, unused-ignore]


@pytest.mark.parametrize(("path", "answer"), [("/missing/", "404"), ("/buy/", "302")])
def test_what_was_answered_is_told_where_nothing_overlapped(path: str, answer: str) -> None:
    with pytest.raises(InconclusiveError, match=answer):
        explore(*asked(path)).assert_no_race()


@pytest.mark.parametrize("turn", times(5))
def test_a_key_of_a_session_is_lost(turn: int) -> None:
    sessions.begin()
    is_race(explore((sessions.remember, {"key": "a"}), (sessions.remember, {"key": "b"})))


def test_a_visit_in_a_session_is_lost() -> None:
    sessions.begin()
    is_race(explore((sessions.count_visits, {}), (sessions.count_visits, {})))


def test_a_session_may_be_saved_twice_with_the_same() -> None:
    sessions.begin()
    is_safe(explore((sessions.remember, {"key": "a"}), (sessions.remember, {"key": "a"})))
    is_safe(explore((sessions.remember, {"key": "a"}), (sessions.look, {})))


def test_a_session_ends_while_it_is_written() -> None:
    sessions.begin()
    is_race(explore((sessions.log_out, {}), (sessions.visit, {})))
    is_safe(explore((sessions.log_out, {}), (sessions.visit_until_logged_out, {})))
