"""The Django project that the tests use.

The names of the test databases hold this process's id, so that two runs at one
time stay apart.  A process that reads this file anew gets other names: only the
hand-over of live settings leads a wrapper to the database of the test.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests import servers

servers.choose_mysql_driver()

if os.environ.get("AIOCONCURRENT_TEST_POSTGRES_DRIVER") == "psycopg2":
    sys.modules["psycopg"] = None  # type: ignore[assignment]  # Django takes the other one where it cannot import it

SECRET_KEY = "only for tests"
INSTALLED_APPS = ["tests.project.shop", "tests.project.ledger", "tests.project.office"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True

TEST_NAME = f"test_aioconcurrent_{os.getpid()}"
SQLITE = {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(__file__).with_name("db.sqlite3")}

ALONE: dict[str, Any] = {"DEPENDENCIES": []}  # a run of some of the tests may not need the default database

DATABASES: dict[str, dict[str, Any]] = {
    "default": {**SQLITE},
    "other": {**SQLITE, "TEST": ALONE},
    "file": {**SQLITE, "TEST": {"NAME": str(Path(tempfile.gettempdir()) / f"{TEST_NAME}.sqlite3"), **ALONE}},
    "postgresql": {"ENGINE": "django.db.backends.postgresql", "TEST": {"NAME": TEST_NAME, **ALONE}},
}
if postgresql := servers.find_postgresql():
    DATABASES["postgresql"] |= servers.connection_settings(postgresql)
if mysql := servers.find_mysql():
    DATABASES["mysql"] = {
        "ENGINE": "django.db.backends.mysql",
        "TEST": {"NAME": TEST_NAME, **ALONE},
        **servers.connection_settings(mysql),
    }
