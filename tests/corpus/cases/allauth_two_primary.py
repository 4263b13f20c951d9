"""django-allauth 65: two addresses of one user made primary at once: one call crashes, or both are primary."""

REQUIREMENTS = ["Django==5.2.*", "django-allauth==65.21.1"]
SETTINGS = {
    "INSTALLED_APPS": ["django.contrib.sessions", "django.contrib.messages", "allauth", "allauth.account"],
    "MIDDLEWARE": ["allauth.account.middleware.AccountMiddleware"],
}
EVIDENCE = "allauth/account/models.py, set_as_primary: get_primary(), and two saves without a lock"
EXPECTED = "race"
OBSERVED = {"sqlite": "race", "postgresql": "race", "mysql": "race"}
CRASH_IS_BUG = True

from allauth.account.models import EmailAddress
from django.contrib.auth.models import User


def setup():
    user = User.objects.create_user("ann", email="a@example.org")
    for number, name in enumerate("abc"):
        EmailAddress.objects.create(user=user, email=f"{name}@example.org", verified=True, primary=not number)


def choose(email):
    EmailAddress.objects.get(email=email).set_as_primary()


calls = [(choose, {"email": "b@example.org"}), (choose, {"email": "c@example.org"})]


def check():
    return EmailAddress.objects.filter(primary=True).count() == 1
