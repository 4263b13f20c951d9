"""The models that the code in the documents is about."""

from django.db import models


class Account(models.Model):
    balance = models.IntegerField(default=0)


class Show(models.Model):
    title = models.CharField(max_length=50, default="Hamlet")
    seats_left = models.IntegerField(default=1)


class Ticket(models.Model):
    show = models.ForeignKey(Show, on_delete=models.CASCADE)


class Coupon(models.Model):
    code = models.CharField(max_length=20, unique=True)
