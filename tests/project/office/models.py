"""What the programs of the tests of truth work on."""

from django.db import models


class Post(models.Model):
    likes = models.IntegerField(default=0)
    note = models.TextField(default="")
    history = models.JSONField(default=list)
    token = models.CharField(max_length=64, null=True)
    due = models.DateTimeField(null=True)
    active = models.BooleanField(default=True)


class Reply(models.Model):
    post = models.ForeignKey(Post, on_delete=models.CASCADE)
    amount = models.IntegerField(default=1)


class Job(models.Model):
    owner = models.CharField(max_length=50, null=True)


class Bill(models.Model):
    """Numbered in one of the ways in which bills are; `after`, `before` and `code` hold what follows a primary key."""

    number = models.IntegerField(default=0)
    after = models.BigIntegerField(null=True)
    before = models.BigIntegerField(null=True)
    code = models.CharField(max_length=50, default="")


class Handle(models.Model):
    name = models.CharField(max_length=50, unique=True)
    uses = models.IntegerField(default=0)
