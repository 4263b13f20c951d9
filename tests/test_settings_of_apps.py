"""Settings that an app makes by itself while it is loaded are its own; what a test has changed comes along."""

from pathlib import Path

import django
import pytest

from tests.project.scripts import output_of, run

pytest_plugins = ["tests.project.start_methods"]
both_start_methods = pytest.mark.usefixtures("start_method")

APP = """
import threading
from types import SimpleNamespace

from django.conf import settings
from django.utils.functional import SimpleLazyObject
from django.utils.module_loading import import_string


class Shelf:
    pass


class Locked:
    def __init__(self):
        self.lock = threading.Lock()


# Each takes what stands in the settings module, or nothing, and would not take its own work.
settings.SHELF = import_string(settings.SHELF)
settings.SHELVES = {name: import_string(path) for name, path in settings.SHELVES.items()}
settings.WORDS = settings.WORDS.split()
settings.RULE = (lambda rule: lambda: rule)(settings.RULE.upper())
settings.LOCKED = Locked()
settings.PROXY = SimpleLazyObject(lambda: Shelf)
settings.SEEN = [settings.WORDS, getattr(settings, "BEFORE", None)]
"""
SETTINGS = """
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "test_own.sqlite3"}}
INSTALLED_APPS = ["making"]
SHELF = "making.models.Shelf"
SHELVES = {"one": "making.models.Shelf"}
WORDS = "one two"
RULE = "strict"
AFTER = "module"
"""
SCRIPT = """
import os, threading

import django
from django.conf import settings

{begin}
settings.BEFORE = "set before"
django.setup()
settings.AFTER = "set after"
settings.NEW = ["new"]

from aioconcurrent.sync import call_concurrently
from django.test import override_settings
from making.models import Locked, Shelf


def look():
    from django.conf import settings
    from making.models import Shelf

    assert settings.SHELF is settings.SHELVES["one"] is Shelf
    assert settings.PROXY == Shelf
    assert not settings.LOCKED.lock.locked()
    return settings.WORDS, settings.RULE(), settings.SEEN, settings.AFTER, settings.NEW


if __name__ == "__main__":
    for outcome in call_concurrently(2, look):
        print(outcome)
    with override_settings(AFTER="overridden"):
        print(call_concurrently(1, look).values[0][3])
    settings.SHELVES = {{"one": Shelf, "two": Shelf}}
    print(*call_concurrently(1, lambda: list(__import__("django.conf").conf.settings.SHELVES)))
"""
MODULE = 'os.environ["DJANGO_SETTINGS_MODULE"] = "own_settings"'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "making").mkdir()
    (tmp_path / "making" / "__init__.py").write_text("")
    (tmp_path / "making" / "models.py").write_text(APP)
    (tmp_path / "own_settings.py").write_text(SETTINGS)
    return tmp_path


SEEN = "(['one', 'two'], 'STRICT', [['one', 'two'], 'set before'], 'set after', ['new'])"


@both_start_methods
def test_what_an_app_makes_of_settings_is_made_anew(folder: Path) -> None:
    printed = output_of(SCRIPT.format(begin=MODULE), folder)
    assert printed.splitlines() == [SEEN, SEEN, "overridden", "['one', 'two']"]


UNPICKLABLE = """
import os, threading

import django
from django.conf import settings

os.environ["DJANGO_SETTINGS_MODULE"] = "own_settings"
django.setup()
settings.LOCK = threading.Lock()

from aioconcurrent import UnpicklableError
from aioconcurrent.sync import call_concurrently

if __name__ == "__main__":
    try:
        print(call_concurrently(1, abs, 1))
    except UnpicklableError as error:
        print(error)
"""


@both_start_methods
def test_what_cannot_travel_and_no_app_makes_is_named(folder: Path) -> None:
    (folder / "script.py").write_text(UNPICKLABLE)
    ran = run("script.py", folder=folder)
    assert "The setting LOCK cannot travel between processes: it cannot be pickled, and the project" in ran.stdout, ran


CONFIGURED = """
import django
from django.conf import settings

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "test_own.sqlite3"}},
    INSTALLED_APPS=["defaulting"],
    DOUBLE=lambda number: number * 2,
)
django.setup()

from aioconcurrent.sync import call_concurrently


def look(number):
    from django.conf import settings
    from defaulting.models import Shelf

    return settings.SHELF is Shelf, settings.DOUBLE(number)


if __name__ == "__main__":
    print(*call_concurrently(2, look, 4))
"""
DEFAULTING = """
from django.conf import settings
from django.utils.module_loading import import_string


class Shelf:
    pass


settings.SHELF = import_string(getattr(settings, "SHELF", "defaulting.models.Shelf"))
"""


@both_start_methods
def test_what_an_app_makes_of_settings_that_were_configured_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "defaulting").mkdir()
    (tmp_path / "defaulting" / "__init__.py").write_text("")
    (tmp_path / "defaulting" / "models.py").write_text(DEFAULTING)
    assert output_of(CONFIGURED, tmp_path) == "(True, 8) (True, 8)\n"


MAILERS = """
import warnings

import django
from django.conf import settings

warnings.simplefilter("ignore")
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "test_own.sqlite3"}}, INSTALLED_APPS=[]
)
django.setup()

from aioconcurrent.sync import call_concurrently
from django.core.mail import send_mail
from django.test.utils import setup_test_environment

if __name__ == "__main__":
    setup_test_environment()  # sets EMAIL_BACKEND
    settings.MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
    print(*call_concurrently(2, send_mail, "Hi", "", "bob@shop.example", ["ann@shop.example"]))
"""


@pytest.mark.skipif(django.VERSION < (6, 1), reason="MAILERS is new in Django 6.1")
@both_start_methods
def test_the_backend_of_mail_stays_behind_where_mailers_take_its_place(tmp_path: Path) -> None:
    assert output_of(MAILERS, tmp_path) == "1 1\n"
