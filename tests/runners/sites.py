"""A Django project with tests, and runs of them."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any

from django.db import connections

from tests.faults import calls
from tests.faults.processes import MARK, left_of, marked

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

ROOT = Path(__file__).parents[2]
SETTINGS = """
import tests.project.settings  # chooses the driver for MySQL

SECRET_KEY = "only for tests"
INSTALLED_APPS = ["tests.project.shop"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {{"default": {database!r}}}
"""
_PLUGINS = (
    "anyio",
    "asyncio",
    "cacheprovider",
    "django",
    "hypothesispytest",
    "pytest_mock",
    "randomly",
    "requests_mock",
    "respx",
    "timeout",
    "xdist",
)
IMPORTS = """
import os
import time
from pathlib import Path

import pytest
from django.test import TransactionTestCase

from aioconcurrent.sync import call_concurrently, explore, options
from tests.project.shop.calls import increment, increment_atomically
from tests.project.shop.models import Counter

HERE = Path(__file__).parent
on_database = pytest.mark.django_db(transaction=True)
"""


def only(*plugins: str) -> list[str]:
    """What to tell pytest to have of these plugins those that are named, and ours."""
    return [part for name in _PLUGINS if name not in plugins for part in ("-p", f"no:{name}")]


_numbers = itertools.count()


class Site:
    """A project in a folder of its own, whose runs must leave no process behind.

    Args:
        database: Its settings; by default SQLite in a file.

    Attributes:
        text: What the last run of pytest printed.
    """

    text: str

    def __init__(self, folder: Path, database: dict[str, Any] | None = None) -> None:
        self.folder = folder
        self._mark = f"{os.getpid()}-{next(_numbers)}"  # in the environment of every process that comes of it
        sqlite = {"ENGINE": "django.db.backends.sqlite3", "TEST": {"NAME": str(folder / "trial.sqlite3")}}
        database = database or sqlite
        self.write("site_settings.py", SETTINGS.format(database=database))
        self.write("pyproject.toml", '[tool.pytest]\nDJANGO_SETTINGS_MODULE = "site_settings"\nstrict = true\n')

    @classmethod
    def on_database(cls, folder: Path, alias: str) -> Self:
        """A project on a database that is like one of ours."""
        settings: dict[str, Any] = {**connections[alias].settings_dict, "TEST": {}}
        settings["NAME"] = f"{settings['NAME'].removeprefix('test_')}_plugin"
        return cls(folder, settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        left = left_of(marked(self._mark))
        for pid in left:
            calls.kill(pid)
        assert not left

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(dedent(text))

    def write_tests(self, text: str, name: str = "test_shop.py") -> None:
        self.write(name, IMPORTS + dedent(text))

    def pytest(self, *arguments: str, plugins: Sequence[str] = (), **variables: str) -> int:
        """Run pytest with this library's plugin, pytest-django and those named; return its exit status."""
        with self.start(*arguments, plugins=plugins, **variables) as process:
            self.text, _ = process.communicate(timeout=600)
        return process.returncode

    def python(self, *arguments: str, **variables: str) -> int:
        """Run Python with these arguments, and return its exit status."""
        with self.start_python(*arguments, **variables) as process:
            self.text, _ = process.communicate(timeout=600)
        return process.returncode

    def start(self, *arguments: str, plugins: Sequence[str] = (), **variables: str) -> subprocess.Popen[str]:
        """Let pytest run, in a process group of its own."""
        return self.start_python("-m", "pytest", *only("django", *plugins), *arguments, **variables)

    def start_python(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Let Python run, in a process group of its own."""
        # "CI" makes pytest repeat whole messages in its summary
        foreign = ("PYTEST", "DJANGO", "CI")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={
                **inherited,
                MARK: self._mark,
                "PYTHONPATH": os.pathsep.join([str(self.folder), str(ROOT)]),
                **variables,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
