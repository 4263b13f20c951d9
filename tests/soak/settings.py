"""The tests' project, with names of databases that outlive a host that is killed."""

import os
import tempfile
from pathlib import Path

from tests.project import settings as project
from tests.project.settings import *  # noqa: F403 - as settings are derived

NAME = f"test_aioconcurrent_soak_{os.environ['AIOCONCURRENT_SOAK']}"
DATABASES = {
    alias: {**values, "TEST": {**values.get("TEST", {}), "NAME": NAME}}
    for alias, values in project.DATABASES.items()
    if alias in ("postgresql", "mysql")
}
DATABASES["default"] = {**project.SQLITE, "OPTIONS": {"timeout": 20}}
DATABASES["file"] = {
    **project.SQLITE,
    "OPTIONS": {"timeout": 20},
    "TEST": {"NAME": str(Path(tempfile.gettempdir()).parent / "soak.sqlite3"), **project.ALONE},
}
