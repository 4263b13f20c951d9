"""Runs of the small project's tests in a hunt."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.faults.processes import MARK, left_of, marked

if TYPE_CHECKING:
    from collections.abc import Mapping

PROJECT = Path(__file__).with_name("project")
ROOT = Path(__file__).parents[2]
HUNT = ("-m", "aioconcurrent", "hunt")
PYTEST = ("-m", "pytest", *(part for name in ("asyncio", "randomly", "timeout") for part in ("-p", f"no:{name}")))
RACES = {
    ("lost update", "POST /accounts/<int:account_id>/withdraw/ twice"),
    ("double insert", "POST /codes/<str:code>/redeem/ twice"),
    ("double insert", "POST /invoices/ twice"),
}
_FIRST = re.compile(r"^ {0,2}\d+  ([a-z -]+): (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Hunted:
    """What a run has left.

    Attributes:
        folder: In which it ran.
        status: Its exit status.
        printed: All of it.
        left: Processes that outlived it.
    """

    folder: Path
    status: int
    printed: str
    left: frozenset[int]

    @property
    def report(self) -> dict[str, Any]:
        """What it wrote for machines."""
        found: dict[str, Any] = json.loads((self.folder / ".aioconcurrent" / "hunt.json").read_text())
        return found

    @property
    def told(self) -> set[tuple[str, str]]:
        """The races of the table that it printed: the anomaly, and what meets."""
        return set(_FIRST.findall(self.printed))


def copied(folder: Path) -> Path:
    """The small project in a folder of its own."""
    return Path(shutil.copytree(PROJECT, folder / "project", ignore=shutil.ignore_patterns("__pycache__", ".*")))


def run(folder: Path, *arguments: str, database: Mapping[str, Any] | None = None) -> Hunted:
    """Run Python there with these arguments; the database is one in memory if none is given."""
    mark = f"{os.getpid()}-{folder}"
    foreign = ("PYTEST", "DJANGO", "CI")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    given = {} if database is None else {"TILL_DATABASE": json.dumps(database, default=str)}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**inherited, **given, "PYTHONPATH": str(ROOT), MARK: mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    return Hunted(folder, done.returncode, done.stdout, frozenset(left_of(marked(mark))))
