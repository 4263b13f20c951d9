"""django.contrib.auth: a name that was free when both looked is given out once, and crashes the other sign-up."""

REQUIREMENTS = ["Django==5.2.*"]
SETTINGS = {"INSTALLED_APPS": []}
EVIDENCE = "exists() before create_user(); passwords are hashed with a random salt, date_joined is the time of day"
EXPECTED = "race"
OBSERVED = {"sqlite": "race", "postgresql": "race", "mysql": "race"}
CRASH_IS_BUG = True

from django.contrib.auth.models import User


def setup():
    User.objects.create_user("somebody", password="p")


def sign_up(name):
    if User.objects.filter(username=name).exists():
        return "taken"
    User.objects.create_user(name, password="p")
    return "welcome"


calls = [(sign_up, {"name": "ann"}), (sign_up, {"name": "ann"})]


def check():
    return User.objects.filter(username="ann").count() == 1
