"""A signal receiver that adds up a total with F(); the receiver is this module's own."""

REQUIREMENTS = ["Django==5.2.*"]
SETTINGS = {"INSTALLED_APPS": []}
EVIDENCE = "the UPDATE adds in the database; without the receiver the check would fail, so it must come along"
EXPECTED = "safe"
OBSERVED = {"sqlite": "none", "postgresql": "none", "mysql": "none"}

from uuid import uuid4

from django.db import models
from django.db.models import F
from django.db.models.signals import post_save
from django.dispatch import receiver


class Cart(models.Model):
    total = models.IntegerField(default=0)

    class Meta:
        app_label = "corpus"


class Line(models.Model):
    token = models.UUIDField(default=uuid4)
    cart = models.ForeignKey(Cart, models.CASCADE)
    price = models.IntegerField()

    class Meta:
        app_label = "corpus"


@receiver(post_save, sender=Line)
def add_up(sender, instance, created, **kwargs):
    if created:
        Cart.objects.filter(pk=instance.cart_id).update(total=F("total") + instance.price)


def setup():
    Cart.objects.create()


def put(price):
    return Line.objects.create(cart=Cart.objects.get(), price=price)


calls = [(put, {"price": 3}), (put, {"price": 4})]


def check():
    return Cart.objects.get().total == 7
