"""djangorestframework-simplejwt 5.5.1: one refresh token used twice at once gives two new ones."""

REQUIREMENTS = ["Django==5.2.*", "djangorestframework-simplejwt==5.5.1"]
SETTINGS = {
    "INSTALLED_APPS": ["rest_framework_simplejwt.token_blacklist"],
    "SECRET_KEY": "a key for tests alone, of enough characters",
}
EVIDENCE = "rest_framework_simplejwt/tokens.py: check_blacklist() when the token is read, blacklist() afterwards"
EXPECTED = "race"
OBSERVED = {"sqlite": "race", "postgresql": "race", "mysql": "race"}

from corpus_app.models import Effect, effect
from django.contrib.auth.models import User
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken
from rest_framework_simplejwt.tokens import RefreshToken


def setup():
    RefreshToken.for_user(User.objects.create_user("ann"))


def refresh():
    token = RefreshToken(OutstandingToken.objects.get(user__isnull=False).token)
    token.blacklist()
    effect("issued", RefreshToken()["jti"])


calls = [(refresh, {}), (refresh, {})]
ERRORS_ALLOWED = ("TokenError",)


def check():
    return Effect.objects.filter(kind="issued").count() <= 1
