"""A like button: two clicks at once on a post that is liked both take the like away."""

REQUIREMENTS = ["Django==5.2.*"]
SETTINGS = {"INSTALLED_APPS": []}
EVIDENCE = "get_or_create, and delete() where nothing was created: both clicks get the row before one deletes it"
EXPECTED = "race"
OBSERVED = {"sqlite": "race", "postgresql": "race", "mysql": "race"}

from django.db import models


class Like(models.Model):
    post = models.IntegerField()
    reader = models.IntegerField()

    class Meta:
        app_label = "corpus"
        unique_together = ["post", "reader"]


def setup():
    Like.objects.create(post=1, reader=1)


def click():
    like, created = Like.objects.get_or_create(post=1, reader=1)
    if not created:
        like.delete()


calls = [(click, {}), (click, {})]


def check():
    return Like.objects.count() == 1
