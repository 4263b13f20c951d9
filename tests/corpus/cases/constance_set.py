"""django-constance 4.4.0: two first values of one key; the second one is written over the first."""

REQUIREMENTS = ["Django==5.2.*", "django-constance==4.4.0"]
SETTINGS = {
    "INSTALLED_APPS": ["constance"],
    "CONSTANCE_BACKEND": "constance.backends.database.DatabaseBackend",
    "CONSTANCE_CONFIG": {"LIMIT": (1, "A number")},
}
EVIDENCE = "constance/backends/database.py, set: 'Allow concurrent writes'"
EXPECTED = "safe"
OBSERVED = {"sqlite": "none", "postgresql": "none", "mysql": "none"}

from constance import config
from constance.models import Constance


def setup():
    Constance.objects.create(key="other", value="1")


def change(limit):
    config.LIMIT = limit


calls = [(change, {"limit": 5}), (change, {"limit": 6})]


def check():
    return Constance.objects.filter(key="LIMIT").count() == 1 and config.LIMIT in (5, 6)
