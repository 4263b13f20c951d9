"""django-solo 2.5.1: two first looks at a singleton make one row, and both get it."""

REQUIREMENTS = ["Django==5.2.*", "django-solo==2.5.1"]
SETTINGS = {"INSTALLED_APPS": ["solo"]}
EVIDENCE = "solo/models.py, get_solo: get_or_create on a fixed primary key"
EXPECTED = "safe"
OBSERVED = {"sqlite": "none", "postgresql": "none", "mysql": "none"}

from django.db import models
from solo.models import SingletonModel


class Site(SingletonModel):
    name = models.CharField(max_length=20, default="new")
    made_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "corpus"


def setup():
    pass


def look():
    return Site.get_solo()


calls = [(look, {}), (look, {})]


def check():
    return Site.objects.count() == 1
