"""Small Django projects in a folder of their own, and programs that run in them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

ROOT = Path(__file__).parent.parent.parent

SETTINGS = """
from pathlib import Path

FOLDER = Path(__file__).parent
SECRET_KEY = "only for tests"
INSTALLED_APPS = ["site_app.apps.SiteConfig"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": FOLDER / "real.sqlite3"}}
USE_TZ = True
"""

APPS = """
import os
from django.apps import AppConfig

IS_CHILD = "AIOCONCURRENT_PARENT_PID" in os.environ

class SiteConfig(AppConfig):
    name = "site_app"

    def ready(self):
{ready}
"""

CALLS = """
import os, time
from pathlib import Path

def answer():
    return 42

def sign_in_and_stay():
    Path("signed-in", str(os.getpid())).touch()
    time.sleep(600)
"""


class Project:
    """A Django project with one app.

    Args:
        settings: Added to its settings module.
        ready: The body of its app's `ready()`.

    Attributes:
        environment: Of the programs.
        printed: What the last program printed to stdout and stderr.
    """

    printed: tuple[str, str]

    def __init__(self, folder: Path, *, settings: str = "", ready: str = "pass") -> None:
        self.folder = folder
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        self.environment = {
            **inherited,
            "DJANGO_SETTINGS_MODULE": "site_settings",
            "PYTHONPATH": os.pathsep.join([str(self.folder), str(ROOT)]),
        }
        self.write("site_settings.py", SETTINGS + dedent(settings))
        self.write("site_app/__init__.py", "")
        self.write("site_app/apps.py", APPS.format(ready=_indented(ready)))
        self.write("site_app/calls.py", CALLS)
        self.write("signed-in/empty", "")

    def write(self, name: str, text: str) -> None:
        file = self.folder / name
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text(text)

    def start(self, program: str) -> subprocess.Popen[str]:
        """Run a program in a process of its own, with the project set up."""
        return self._start("-c", "import django; django.setup()\n" + dedent(program))

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, program: str) -> Any:
        """Run a program to its end, and return what it printed last, which is JSON."""
        with self.start(program) as process:
            output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        *_, last = output.splitlines()
        self.printed = output, errors
        return json.loads(last)

    def run_command(self, *arguments: str) -> int:
        """Run Python with these arguments, and return its exit status."""
        with self._start(*arguments) as process:
            self.printed = process.communicate(timeout=120)
        return process.returncode


def _indented(text: str) -> str:
    return "\n".join(f"        {line}" for line in dedent(text).strip().splitlines())
