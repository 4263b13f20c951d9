"""The Django project comes along: settings, language and time zone, as they are when the calls are made."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.conf import settings as django_settings
from django.test import override_settings
from django.utils import timezone, translation
from pytest_django import Settings

from aioconcurrent import UnpicklableError
from aioconcurrent.engine.fork import close_template
from aioconcurrent.sync import call_concurrently
from tests.project.echoes import default_cache, is_installed, language_and_time_zone, settings_named
from tests.project.scripts import output_of

pytest_plugins = ["tests.project.start_methods"]
both_start_methods = pytest.mark.usefixtures("start_method")


def seen(*names: str) -> list[Any]:
    """The values of settings in a call."""
    outcomes = call_concurrently(1, settings_named, *names)
    outcomes.raise_errors()
    return outcomes.values[0]


@both_start_methods
def test_override_settings_reaches_the_calls_and_is_gone_in_the_next_race() -> None:
    assert seen("GREETING") == ["absent"]
    with override_settings(GREETING="hello"):
        assert seen("GREETING") == ["hello"]
    assert seen("GREETING") == ["absent"]


@pytest.fixture
def next_race_is_without_it() -> Iterator[None]:
    """Comes before `settings` and so ends after it."""
    yield
    assert seen("GREETING", "USE_THOUSAND_SEPARATOR") == ["absent", False]


@both_start_methods
def test_the_settings_fixture_reaches_the_calls_and_is_gone_in_the_next_race(
    next_race_is_without_it: None, settings: Settings
) -> None:
    settings.GREETING = "hello"
    settings.USE_THOUSAND_SEPARATOR = True
    assert seen("GREETING", "USE_THOUSAND_SEPARATOR") == ["hello", True]


def test_the_innermost_of_nested_overrides_counts() -> None:
    with override_settings(GREETING="outer", FAREWELL="outer"), override_settings(GREETING="inner"):
        assert seen("GREETING", "FAREWELL") == ["inner", "outer"]


@both_start_methods
def test_a_deleted_setting_is_deleted_in_the_calls_and_is_back_in_the_next_race() -> None:
    with override_settings():
        del django_settings.CSRF_COOKIE_NAME
        assert seen("CSRF_COOKIE_NAME") == ["absent"]
    assert seen("CSRF_COOKIE_NAME") == ["csrftoken"]


def test_a_setting_deleted_and_set_again_is_there() -> None:
    with override_settings():
        del django_settings.CSRF_COOKIE_NAME
        with override_settings(CSRF_COOKIE_NAME="shop"):
            assert seen("CSRF_COOKIE_NAME") == ["shop"]


@both_start_methods
def test_what_django_makes_from_a_setting_is_made_anew() -> None:
    with override_settings(CACHES={"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}):
        assert list(call_concurrently(1, default_cache)) == ["DummyCache"]
    assert list(call_concurrently(1, default_cache)) == ["LocMemCache"]


@both_start_methods
def test_an_app_that_is_installed_for_a_test_is_installed_in_the_calls() -> None:
    with override_settings(INSTALLED_APPS=[*django_settings.INSTALLED_APPS, "django.contrib.messages"]):
        assert list(call_concurrently(1, is_installed, "django.contrib.messages")) == [True]
    assert list(call_concurrently(1, is_installed, "django.contrib.messages")) == [False]


@both_start_methods
def test_a_setting_changed_directly_reaches_the_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seen("CSRF_COOKIE_NAME") == ["csrftoken"]
    monkeypatch.setattr(django_settings, "CSRF_COOKIE_NAME", "shop")
    monkeypatch.setattr(django_settings, "GREETING", "hello", raising=False)
    assert seen("CSRF_COOKIE_NAME", "GREETING") == ["shop", "hello"]


def test_a_setting_changed_directly_before_the_first_race_is_gone_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    close_template()
    with monkeypatch.context() as changed:
        changed.setattr(django_settings, "CSRF_COOKIE_NAME", "shop")
        changed.setattr(django_settings, "GREETING", "hello", raising=False)
        assert seen("CSRF_COOKIE_NAME", "GREETING") == ["shop", "hello"]
    assert seen("CSRF_COOKIE_NAME", "GREETING") == ["csrftoken", "absent"]


@both_start_methods
def test_an_override_that_cannot_travel_is_named() -> None:
    with (
        override_settings(LOCK=threading.Lock()),
        pytest.raises(UnpicklableError, match=r"^The setting LOCK cannot travel between processes: TypeError"),
    ):
        call_concurrently(1, settings_named, "DEBUG")


@both_start_methods
@pytest.mark.filterwarnings("ignore:The EMAIL_BACKEND setting is deprecated")  # from Django 6.1 on
@pytest.mark.parametrize("name", ["EMAIL_BACKEND", "ALLOWED_HOSTS"])
def test_the_settings_of_the_test_environment_are_the_same(name: str) -> None:
    assert seen(name) == [getattr(django_settings, name)]


@pytest.mark.filterwarnings("ignore:Django 2028 will not have a default mailer")
@pytest.mark.filterwarnings("ignore:The EMAIL_.* setting is deprecated")
def test_mail_of_the_calls_stays_inside() -> None:
    assert list(call_concurrently(1, "django.core.mail:send_mail", "Hi", "", None, ["ann@shop.example"])) == [1]


@both_start_methods
def test_language_and_time_zone_are_the_active_ones() -> None:
    with translation.override("de"), timezone.override(ZoneInfo("Asia/Tokyo")):
        assert list(call_concurrently(1, language_and_time_zone)) == [("de", "Asia/Tokyo")]
    assert list(call_concurrently(1, language_and_time_zone)) == [
        (translation.get_language(), timezone.get_current_timezone_name())
    ]


@both_start_methods
def test_translation_that_is_off_is_off_in_the_calls() -> None:
    with translation.override(None):
        assert call_concurrently(1, language_and_time_zone).values[0][0] is None


CONFIGURED = """
import django
from django.conf import settings
from django.db import connection

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "test_own.sqlite3"}},
    INSTALLED_APPS=["django.contrib.contenttypes"],
    GREETING="configured",
)
django.setup()

from aioconcurrent.sync import call_concurrently
from django.core.management import call_command
from django.test import override_settings
from tests.project.echoes import database_name, is_installed, setting

if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    print(*call_concurrently(2, setting, "GREETING"))
    print(*call_concurrently(1, is_installed, "django.contrib.contenttypes"))
    print(*call_concurrently(1, database_name))
    with override_settings(GREETING="overridden"):
        print(*call_concurrently(1, setting, "GREETING"))
    print(*call_concurrently(1, setting, "GREETING"))
    settings.GREETING = "changed"
    print(*call_concurrently(1, setting, "GREETING"))
"""


@both_start_methods
def test_a_project_of_settings_configure_comes_along(tmp_path: Path) -> None:
    assert output_of(CONFIGURED, tmp_path).splitlines() == [
        "configured configured",
        "True",
        "test_own.sqlite3",
        "overridden",
        "configured",
        "changed",
    ]


def test_settings_configure_comes_before_the_settings_module_of_the_shell(tmp_path: Path) -> None:
    printed = output_of(CONFIGURED, tmp_path, DJANGO_SETTINGS_MODULE="tests.project.settings")
    assert printed.startswith("configured configured\n")


WITHOUT_DJANGO = """
import os
from aioconcurrent.sync import call_concurrently
from tests.project.plain import add

if __name__ == "__main__":
    outcomes = call_concurrently(3, add, 1, 2)
    print(*outcomes)
    print(len({report.pid for report in outcomes.reports} | {os.getpid()}))
    print(*call_concurrently(1, "tests.project.plain:has_django_settings"))
"""


@both_start_methods
def test_without_a_django_project_plain_functions_run(tmp_path: Path) -> None:
    assert output_of(WITHOUT_DJANGO, tmp_path).splitlines() == ["3 3 3", "4", "False"]
