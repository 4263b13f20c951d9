"""update_or_create with F(): it locks the row, and falls back to an update where the other has created it."""

REQUIREMENTS = ["Django==5.2.*"]
SETTINGS = {"INSTALLED_APPS": []}
EVIDENCE = "docs.djangoproject.com, QuerySet.update_or_create: select_for_update() in atomic(), unique key"
EXPECTED = "safe"
OBSERVED = {"sqlite": "none", "postgresql": "none", "mysql": "none"}

from django.db import models
from django.db.models import F


class Hits(models.Model):
    page = models.CharField(max_length=50, unique=True)
    count = models.IntegerField(default=0)
    last_seen = models.DateTimeField(auto_now=True)

    class Meta:
        app_label = "corpus"


def setup():
    Hits.objects.create(page="other")


def hit():
    Hits.objects.update_or_create(page="home", defaults={"count": F("count") + 1}, create_defaults={"count": 1})


calls = [(hit, {}), (hit, {})]


def check():
    return Hits.objects.get(page="home").count == 2
