"""Functions of released packages: exploring says of each what is known of it, with its rule and without any."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.corpus.run import literals

HERE = Path(__file__).parent
CASES = sorted((HERE / "cases").glob("[a-z]*.py"))
VERDICTS = {"race": "race", "safe": "no race"}


def on(database: str, *, packages: bool = True) -> list[Any]:
    """The cases, or those that need Django alone.

    SQLite shows no more than the races that are known there: of what is safe elsewhere it refuses
    some with "database is locked", which is a conflict that nobody handles.
    """
    told = [(path, literals(path)) for path in CASES]
    return [
        pytest.param(path, database, id=f"{path.stem}-{database}")
        for path, case in told
        if (packages or len(case["REQUIREMENTS"]) == 1)
        and (database != "sqlite" or case["OBSERVED"]["sqlite"] == "race")
    ]


def explored(case: Path, database: str, *options: str) -> dict[str, Any]:
    program = [sys.executable, str(HERE / "run.py"), str(case), "--database", database, *options]
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def assert_right(case: Path, found: dict[str, Any]) -> None:
    for answer in found.values():
        assert answer["verdict"] == VERDICTS[literals(case)["EXPECTED"]], answer["text"]


@pytest.mark.parametrize(
    ("case", "database"),
    [*on("postgresql"), *on("mysql", packages=False), *on("sqlite", packages=False)],
)
def test_the_verdict_is_right(case: Path, database: str) -> None:
    if database == "mysql" and not servers.find_mysql():
        pytest.skip(servers.NO_MYSQL)
    assert_right(case, explored(case, database))


@pytest.mark.parametrize("options", [("--load", "file"), ("--load", "registered file", "--start-method", "spawn")])
def test_models_and_receivers_of_a_file_come_along(options: tuple[str, ...]) -> None:
    case = HERE / "cases" / "receiver_total.py"
    assert_right(case, explored(case, "sqlite-memory", *options))
