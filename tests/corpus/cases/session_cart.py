"""django.contrib.sessions: two requests of one session each save all of it, and one article is lost."""

REQUIREMENTS = ["Django==5.2.*"]
SETTINGS = {"INSTALLED_APPS": ["django.contrib.sessions"]}
EVIDENCE = "code.djangoproject.com ticket 10827 and others: last save wins; the data are signed with the time of day"
EXPECTED = "race"
OBSERVED = {"sqlite": "race", "postgresql": "race", "mysql": "race"}

from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session


def session():
    return SessionStore(Session.objects.get().session_key)


def setup():
    store = SessionStore()
    store["cart"] = []
    store.save()


def put(article):
    store = session()
    store["cart"] = [*store["cart"], article]
    store.save()
    return len(store["cart"])


calls = [(put, {"article": "pen"}), (put, {"article": "ink"})]


def check():
    return len(session()["cart"]) == 2
