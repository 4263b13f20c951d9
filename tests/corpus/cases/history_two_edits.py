"""django-simple-history 3.13.0: the history keeps both edits of an article, the article only one."""

REQUIREMENTS = ["Django==5.2.*", "django-simple-history==3.13.0"]
SETTINGS = {"INSTALLED_APPS": ["simple_history"]}
EVIDENCE = "save() writes all fields; so that the title of the other edit is lost"
EXPECTED = "race"
OBSERVED = {"sqlite": "race", "postgresql": "race", "mysql": "race"}

from django.db import models
from simple_history.models import HistoricalRecords


class Article(models.Model):
    title = models.CharField(max_length=20)
    text = models.CharField(max_length=20)
    history = HistoricalRecords()

    class Meta:
        app_label = "corpus"


def setup():
    Article.objects.create(title="old", text="old")


def edit(field):
    article = Article.objects.get()
    setattr(article, field, "new")
    article.save()


calls = [(edit, {"field": "title"}), (edit, {"field": "text"})]


def check():
    return Article.objects.filter(title="new", text="new").exists()
