"""Functions that need no Django project."""

import sys


def add(first: int, second: int) -> int:
    return first + second


def has_django_settings() -> bool:
    """Tell whether anything has read or set Django's settings in this process."""
    configuration = sys.modules.get("django.conf")
    return configuration is not None and configuration.settings.configured
