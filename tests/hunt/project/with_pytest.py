"""The same with pytest-django."""

import pytest
from till.models import Account, Invoice, Redeemed, RedeemedOnce, Series


@pytest.fixture
def account(db):
    return Account.objects.create(balance=100)


def test_money_is_withdrawn(account, client):
    assert client.post(f"/accounts/{account.pk}/withdraw/", {"amount": 80}).status_code == 201
    account.refresh_from_db()
    assert account.balance == 20


def test_money_is_withdrawn_safely(account, client):
    assert client.post(f"/accounts/{account.pk}/withdraw-safely/", {"amount": 80}).status_code == 201
    assert Account.objects.get().balance == 20


@pytest.mark.parametrize("code", ["SPRING", "SUMMER"])
def test_a_code_is_redeemed(code, admin_client, mailoutbox, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks() as callbacks:
        assert admin_client.post(f"/codes/{code}/redeem/").status_code == 201
    assert len(callbacks) == 1
    assert mailoutbox == []
    assert admin_client.session["last"] == code
    assert Redeemed.objects.count() == 1


@pytest.mark.django_db
def test_a_code_is_redeemed_once(client):
    assert client.post("/codes/SPRING/redeem-once/").status_code == 201
    assert RedeemedOnce.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_an_invoice_has_a_number(client):
    client.post("/invoices/")
    assert Invoice.objects.get().number == 1


@pytest.mark.django_db(transaction=True)
def test_an_invoice_has_the_number_of_its_series(client):
    series = Series.objects.create(last=7)
    client.post(f"/invoices/{series.pk}/")
    assert Invoice.objects.get().number == 8


def test_without_a_database():
    assert Account(balance=1).balance == 1


@pytest.mark.django_db
def test_nothing_is_left_of_other_tests():
    for model in (Account, Redeemed, RedeemedOnce, Series, Invoice):
        assert model.objects.count() == 0
