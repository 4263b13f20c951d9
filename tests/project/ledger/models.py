"""Tables of every shape that is hard to put back: for the tests of a database's state."""

from django.db import models


class Category(models.Model):
    """Points at itself."""

    name = models.CharField(max_length=50)
    parent = models.ForeignKey("self", on_delete=models.CASCADE, null=True)


class Team(models.Model):
    """Points at its captain, who points at it."""

    name = models.CharField(max_length=50)
    captain = models.ForeignKey("Player", on_delete=models.SET_NULL, null=True, related_name="+")


class Player(models.Model):
    name = models.CharField(max_length=50)
    team = models.ForeignKey(Team, on_delete=models.CASCADE)


class Currency(models.Model):
    """Has a natural key."""

    code = models.CharField(max_length=3, primary_key=True)
    rate = models.DecimalField(max_digits=10, decimal_places=4)


class Entry(models.Model):
    """Has values of many types, and a key of several columns besides its own."""

    currency = models.ForeignKey(Currency, on_delete=models.PROTECT)
    number = models.IntegerField()
    note = models.TextField(null=True)
    details = models.JSONField(default=dict)
    receipt = models.BinaryField(default=b"")
    weight = models.FloatField(default=0)
    is_open = models.BooleanField(default=True)
    booked_on = models.DateField(null=True)
    booked_at = models.DateTimeField(null=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=["currency", "number"], name="number_within_currency"),)
