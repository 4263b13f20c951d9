"""What `django-admin startproject` makes, with one app: the project that is timed."""

import os
from pathlib import Path
from typing import Any

from tests import servers

SECRET_KEY = "only for benchmarks"
ROOT_URLCONF = "tests.benchmarks.project.settings"
urlpatterns: list[object] = []
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_concurrent_tests",
    "tests.project.shop",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
PROCESSORS = [
    "django.template.context_processors.request",
    "django.contrib.auth.context_processors.auth",
    "django.contrib.messages.context_processors.messages",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": PROCESSORS},
    }
]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
MANAGE_PY_PATH = str(Path(__file__).with_name("manage.py"))  # the predecessor's setting
TEST_NAME = "test_aioconcurrent_benchmark"
if os.environ["AIOCONCURRENT_BENCHMARK"] == "postgresql":
    DATABASES: dict[str, dict[str, Any]] = {
        "default": {"ENGINE": "django.db.backends.postgresql", "TEST": {"NAME": TEST_NAME}}
        | servers.connection_settings(os.environ[servers.POSTGRES_VARIABLE])
    }
elif os.environ["AIOCONCURRENT_BENCHMARK"] == "mysql":
    import pymysql

    pymysql.install_as_MySQLdb()
    DATABASES = {
        "default": {"ENGINE": "django.db.backends.mysql", "TEST": {"NAME": TEST_NAME}}
        | servers.connection_settings(os.environ[servers.MYSQL_VARIABLE])
    }
else:
    FOLDER = Path(os.environ["AIOCONCURRENT_BENCHMARK_FOLDER"])
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": FOLDER / "db.sqlite3",
            "TEST": {"NAME": FOLDER / "test_db.sqlite3"},
        }
    }
if url := servers.find_redis():
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": url,
            "KEY_PREFIX": f"aioconcurrent-benchmark-{os.environ['AIOCONCURRENT_BENCHMARK']}",
        }
    }
