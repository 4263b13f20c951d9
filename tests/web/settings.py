"""The settings of the project with views; `AIOCONCURRENT_TEST_WEB_DATABASE` chooses among the tests' databases."""

import os

from tests.project import settings as shared

SECRET_KEY = shared.SECRET_KEY
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "rest_framework",
    "tests.project.shop",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
ROOT_URLCONF = "tests.web.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
MIGRATION_MODULES = dict.fromkeys(("auth", "contenttypes", "sessions"))  # their tables are made at once
DATABASES = {"default": shared.DATABASES[os.environ.get("AIOCONCURRENT_TEST_WEB_DATABASE", "default")]}
