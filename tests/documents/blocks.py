"""The code in the documents, and a project in which it runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PLACE = re.compile(r"# (\S+\.py)\n")

# What readers have at hand, and the rows that the texts speak of.
_HEADER = """
import pytest
from django.test import TransactionTestCase
from aioconcurrent.sync import *
from shop.models import *
from shop.services import *

@pytest.fixture(autouse=True)
def rows(transactional_db):
    Account.objects.create(pk=1, balance=100)
    Show.objects.create(pk=7)

"""


@dataclass(frozen=True)
class Block:
    """Code of a document; `place` is the file that it belongs to, if it says so."""

    code: str
    place: str = ""

    @property
    def as_test(self) -> str:
        """A module of tests that runs it."""
        if re.search(r"^ *(async )?def test_|\(TransactionTestCase\)", self.code, re.MULTILINE):
            return _HEADER + self.code
        return f"{_HEADER}def test_it_runs():\n{indent(self.code, '    ')}"


def blocks(document: str) -> list[Block]:
    """The Python blocks of a document, in order."""
    found = _BLOCK.findall((ROOT / document).read_text())
    return [Block(code, place[1] if (place := _PLACE.match(code)) else "") for code in found]


class Project:
    """A project as `django-admin startproject` makes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._run("-m", "django", "startproject", "bank", ".")

    def write(self, place: str, text: str) -> None:
        (self.folder / place).write_text(text)

    def add_app(self) -> None:
        """Add the app that the documents take for granted."""
        shutil.copytree(Path(__file__).with_name("shop"), self.folder / "shop")
        self._install()

    def start_app(self) -> None:
        """Add an empty one."""
        self._run("manage.py", "startapp", "shop")
        self._install()

    def make_migrations(self) -> None:
        self._run("manage.py", "makemigrations", "shop")

    def _install(self) -> None:
        settings = self.folder / "bank" / "settings.py"
        settings.write_text(settings.read_text().replace("INSTALLED_APPS = [", 'INSTALLED_APPS = [\n    "shop",'))

    def pytest(self, *arguments: str) -> str:
        """Run its tests, and return what was printed."""
        plugins = ("-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:asyncio")
        return self._run("-m", "pytest", "--ds=bank.settings", "-o", "anyio_mode=auto", *plugins, *arguments)

    def _run(self, *command: str) -> str:
        environment = {**os.environ, "PYTHONPATH": f"{self.folder}{os.pathsep}{ROOT}"}
        del environment["DJANGO_SETTINGS_MODULE"]
        ran = subprocess.run(
            [sys.executable, *command], cwd=self.folder, env=environment, check=False, capture_output=True, text=True
        )
        return ran.stdout + ran.stderr
