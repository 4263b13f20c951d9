"""The app for INSTALLED_APPS; it is needed for nothing but its command, `manage.py concurrent_call_wrapper`."""

from django.apps import AppConfig


class AioconcurrentConfig(AppConfig):
    name = "aioconcurrent"
