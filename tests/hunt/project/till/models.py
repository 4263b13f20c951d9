from django.db import models


class Account(models.Model):
    balance = models.IntegerField(default=0)


class Voucher(models.Model):
    code = models.CharField(max_length=20)


class Redeemed(models.Model):
    code = models.CharField(max_length=20)


class RedeemedOnce(models.Model):
    code = models.CharField(max_length=20, unique=True)


class Series(models.Model):
    last = models.IntegerField(default=0)


class Invoice(models.Model):
    number = models.IntegerField()
