"""django-mptt 0.20.0: two new root nodes get the same tree_id (max + 1, computed in Python)."""

REQUIREMENTS = ["Django==5.2.*", "django-mptt==0.20.0"]
SETTINGS = {"INSTALLED_APPS": ["mptt"]}
EVIDENCE = "mptt/managers.py, _get_next_tree_id; the documentation says that trees are not safe for concurrent writes"
EXPECTED = "race"
OBSERVED = {"sqlite": "race", "postgresql": "race", "mysql": "race"}

from django.db import models
from mptt.models import MPTTModel, TreeForeignKey


class Genre(MPTTModel):
    name = models.CharField(max_length=20)
    parent = TreeForeignKey("self", models.CASCADE, null=True, related_name="children")

    class Meta:
        app_label = "corpus"


def setup():
    Genre.objects.create(name="jazz")


def add(name):
    Genre.objects.create(name=name)


calls = [(add, {"name": "rock"}), (add, {"name": "folk"})]


def check():
    return Genre.objects.values("tree_id").distinct().count() == 3
