"""What the shop sells."""

from typing import ClassVar, Self

from django.db import models


class Show(models.Model):
    title = models.CharField(max_length=50)
    seats_left = models.IntegerField()

    objects: ClassVar[models.Manager[Self]] = models.Manager()


class Ticket(models.Model):
    show = models.ForeignKey(Show, on_delete=models.CASCADE)

    objects: ClassVar[models.Manager[Self]] = models.Manager()
