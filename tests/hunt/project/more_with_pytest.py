"""What else tests ask for: asynchronous requests, those of Django REST framework, commands, functions."""

from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import transaction
from django.test import AsyncClient, TestCase
from rest_framework.test import APIClient
from till.models import Account, Redeemed
from till.services import redeem, redeem_each, redeem_once


class Asynchronous(TestCase):
    async def test_a_coroutine_asks(self):
        account = await Account.objects.acreate(balance=100)
        response = await AsyncClient().post(f"/accounts/{account.pk}/awithdraw/", {"amount": 80})
        assert response.status_code == 201
        await account.arefresh_from_db()
        assert account.balance == 20


@pytest.mark.django_db
def test_an_api_is_asked_by_a_user_without_a_session():
    account = Account.objects.create(balance=100)
    client = APIClient()
    client.force_authenticate(User.objects.create(pk=account.pk, username="you"))
    assert client.post("/own/", {}, format="json").status_code == 201


@pytest.mark.django_db
def test_a_command_is_called():
    account = Account.objects.create(balance=100)
    out = StringIO()
    call_command("add_interest", 10, stdout=out)
    account.refresh_from_db()
    assert (account.balance, out.getvalue()) == (110, "done\n")


@pytest.mark.django_db
def test_functions_are_called_with_a_savepoint_around_them():
    with transaction.atomic():
        assert redeem("SPRING")
    assert redeem_once("SPRING")
    assert Redeemed.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.xfail(raises=AssertionError, strict=True)
def test_that_fails_as_expected(client):
    assert client.post("/codes/SUMMER/redeem/").status_code == 409


@pytest.mark.django_db
def test_two_actions_meet(client):
    account = Account.objects.create(balance=100)
    client.post(f"/accounts/{account.pk}/withdraw-safely/", {"amount": 10})
    client.post(f"/accounts/{account.pk}/withdraw/", {"amount": 20})
    account.refresh_from_db()
    assert account.balance == 70


@pytest.mark.django_db
def test_something_is_left_to_a_queue(client):
    assert client.post("/codes/SPRING/promise/").status_code == 201


@pytest.mark.django_db
def test_what_is_given_cannot_travel():
    assert redeem_each(code for code in ["SPRING", "SUMMER"]) == 2
