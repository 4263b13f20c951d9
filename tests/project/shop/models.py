import random
import uuid

from django.db import models
from django.db.models.functions import Now


class Remembering(models.Manager["Counter"]):
    """Finds each row once."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[int, int] = {}

    def value_of(self, pk: int, using: str) -> int:
        if pk not in self.found:
            self.found[pk] = self.using(using).get(pk=pk).value
        return self.found[pk]


class Counter(models.Model):
    name = models.CharField(max_length=50)
    value = models.IntegerField(default=0)

    objects = models.Manager()
    remembered = Remembering()


class Account(models.Model):
    owner = models.CharField(max_length=50)
    balance = models.IntegerField(default=0)


class Show(models.Model):
    title = models.CharField(max_length=50)
    seats_left = models.IntegerField()


class Ticket(models.Model):
    show = models.ForeignKey(Show, on_delete=models.CASCADE)
    buyer = models.CharField(max_length=50)


class Doctor(models.Model):
    name = models.CharField(max_length=50)
    on_call = models.BooleanField(default=True)


class Coupon(models.Model):
    """Nothing keeps a code from being there twice."""

    code = models.CharField(max_length=50)


class Voucher(models.Model):
    code = models.CharField(max_length=50, unique=True)


class Stamp(models.Model):
    """Holds what no two runs give alike."""

    key = models.UUIDField(default=uuid.uuid4)
    luck = models.FloatField(default=random.random)
    made_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)
    times = models.IntegerField(default=0)


class Note(models.Model):
    """Holds what the database may write by itself."""

    text = models.TextField(default="")
    history = models.JSONField(default=list)
    at = models.DateTimeField(null=True)
    made_at = models.DateTimeField(db_default=Now())
    times = models.IntegerField(default=0)
