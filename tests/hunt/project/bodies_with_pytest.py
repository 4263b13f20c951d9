"""Answers that differ in their bodies alone."""

import pytest
from django.test import AsyncClient, TestCase
from till.models import Account


@pytest.mark.django_db
def test_what_there_is_is_shown_before_anything_else_happens(client):
    account = Account.objects.create(balance=100)
    assert client.get(f"/accounts/{account.pk}/twice/").content == b"100100"


@pytest.mark.django_db
def test_the_answer_tells_what_there_is(client):
    account = Account.objects.create(balance=100)
    assert client.post(f"/accounts/{account.pk}/deposit/", {"amount": 10}).content == b"110"
    assert client.get(f"/accounts/{account.pk}/twice/").content == b"110110"


class Asynchronous(TestCase):
    async def test_a_coroutine_is_told_the_same(self):
        account = await Account.objects.acreate(balance=100)
        response = await AsyncClient().post(f"/accounts/{account.pk}/adeposit/", {"amount": 10})
        assert response.content == b"110"
