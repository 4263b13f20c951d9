"""django-vote 2.5.0: one reader votes twice at once; the row lock lets the vote count once."""

REQUIREMENTS = ["Django==5.2.*", "django-vote==2.5.0"]
SETTINGS = {"INSTALLED_APPS": ["vote"]}
EVIDENCE = "vote/managers.py, vote: select_for_update() on the article in atomic()"
EXPECTED = "safe"
OBSERVED = {"sqlite": "none", "postgresql": "none", "mysql": "none"}

from django.db import models
from vote.models import VoteModel


class Article(VoteModel, models.Model):
    title = models.CharField(max_length=20)

    class Meta:
        app_label = "corpus"


def setup():
    Article.objects.create(title="a")


def vote():
    return Article.objects.get().votes.up(1)


calls = [(vote, {}), (vote, {})]


def check():
    return Article.objects.get().num_vote_up == 1
