"""The app for INSTALLED_APPS, needed only for its command, `manage.py concurrent_call_wrapper`."""

from django.apps import AppConfig


class AioconcurrentConfig(AppConfig):
    name = "aioconcurrent"
