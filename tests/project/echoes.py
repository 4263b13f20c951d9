"""Functions that tell what they find where they run."""

import os
import sys
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.cache import caches
from django.db import connections
from django.utils import timezone, translation


def echo(value: Any) -> Any:
    """Return what came in."""
    return value


async def echo_async(value: Any) -> Any:
    return value


def say(text: str) -> str:
    """Print in every way there is, and return the same."""
    print(f"print: {text}")
    sys.stdout.flush()
    os.system(f"echo 'shell: {text}'")
    return text


def fail(text: str) -> None:
    raise LookupError(text)


def leave(status: int) -> None:
    sys.exit(status)


def database_name(alias: str = "default") -> str:
    """Return the name of the database that a connection is connected to."""
    connections[alias].ensure_connection()
    return str(connections[alias].settings_dict["NAME"])


def setting(name: str) -> Any:
    """Return a Django setting; "absent" where there is none."""
    return getattr(settings, name, "absent")


def default_cache() -> str:
    """Return the class of the default cache, which Django makes from a setting and keeps."""
    return type(caches["default"]).__name__


def is_installed(app: str) -> bool:
    return apps.is_installed(app)


def language_and_time_zone() -> tuple[str | None, str]:
    return translation.get_language(), timezone.get_current_timezone_name()


def settings_named(*names: str) -> list[Any]:
    return [setting(name) for name in names]
