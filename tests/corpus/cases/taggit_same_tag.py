"""django-taggit 6.1.0: two articles get the same new tag; whoever comes second uses the first one's."""

REQUIREMENTS = ["Django==5.2.*", "django-taggit==6.1.0"]
SETTINGS = {"INSTALLED_APPS": ["taggit"]}
EVIDENCE = "taggit/managers.py: 'we use get_or_create to handle potential races'; names and slugs are unique"
EXPECTED = "safe"
OBSERVED = {"sqlite": "none", "postgresql": "none", "mysql": "none"}

from django.db import models
from taggit.managers import TaggableManager
from taggit.models import Tag


class Article(models.Model):
    title = models.CharField(max_length=20)
    tags = TaggableManager()

    class Meta:
        app_label = "corpus"


def setup():
    Article.objects.create(title="a")
    Article.objects.create(title="b")


def tag(title):
    Article.objects.get(title=title).tags.add("new")


calls = [(tag, {"title": "a"}), (tag, {"title": "b"})]


def check():
    return Tag.objects.count() == 1 and Article.objects.filter(tags__name="new").count() == 2
