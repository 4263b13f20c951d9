"""An ordinary suite: nobody here thinks of races."""

from django.contrib.auth.models import User
from django.core import mail
from django.db import connection
from django.test import TestCase, TransactionTestCase

from .models import Account, Invoice, Redeemed, RedeemedOnce, Series


class Money(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.account = Account.objects.create(balance=100)

    def test_money_is_withdrawn(self):
        response = self.client.post(f"/accounts/{self.account.pk}/withdraw/", {"amount": 80})
        self.assertEqual(response.status_code, 201)
        self.account.refresh_from_db()
        self.assertEqual(self.account.balance, 20)

    def test_no_more_than_there_is(self):
        response = self.client.post(f"/accounts/{self.account.pk}/withdraw/", {"amount": 180})
        self.assertEqual(response.status_code, 409)

    def test_money_is_withdrawn_safely(self):
        response = self.client.post(f"/accounts/{self.account.pk}/withdraw-safely/", {"amount": 80})
        self.assertEqual(response.status_code, 201)
        self.assertEqual(Account.objects.get().balance, 20)
        self.assertEqual(self.client.get(f"/accounts/{self.account.pk}/").content, b"20")


class Codes(TestCase):
    def test_a_code_is_redeemed(self):
        self.client.force_login(User.objects.create(username="you"))
        with self.captureOnCommitCallbacks() as callbacks:
            self.assertEqual(self.client.post("/codes/SPRING/redeem/").status_code, 201)
        self.assertEqual(len(callbacks), 1)
        self.assertEqual(mail.outbox, [])
        self.assertEqual(self.client.session["last"], "SPRING")
        self.assertEqual(Redeemed.objects.count(), 1)
        self.assertTrue(connection.in_atomic_block)

    def test_a_code_is_redeemed_once(self):
        self.assertEqual(self.client.post("/codes/SPRING/redeem-once/").status_code, 201)
        self.assertEqual(self.client.post("/codes/SPRING/redeem-once/").status_code, 409)
        self.assertEqual(RedeemedOnce.objects.count(), 1)


class Invoices(TransactionTestCase):
    def test_an_invoice_has_a_number(self):
        self.client.post("/invoices/")
        self.assertEqual(Invoice.objects.get().number, 1)

    def test_an_invoice_has_the_number_of_its_series(self):
        series = Series.objects.create(last=7)
        self.client.post(f"/invoices/{series.pk}/")
        self.assertEqual(Invoice.objects.get().number, 8)


class Empty(TestCase):
    def test_nothing_is_left_of_other_tests(self):
        for model in (Account, Redeemed, RedeemedOnce, Series, Invoice, User):
            self.assertEqual(model.objects.count(), 0)
