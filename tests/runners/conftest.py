"""Runs of tests in Django projects of their own, each of which must leave no process behind."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from tests.faults import calls
from tests.faults.processes import MARK, left_of, marked
from tests.runners.sites import Site

_numbers = itertools.count()


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    """What the environment of every process that the test starts holds under the name `MARK`."""
    mark = f"{os.getpid()}-{next(_numbers)}"
    monkeypatch.setenv(MARK, mark)
    return mark


@pytest.fixture
def site(tmp_path: Path, mark: str) -> Iterator[Site]:
    """A project on SQLite, in a file."""
    sqlite = {"ENGINE": "django.db.backends.sqlite3", "TEST": {"NAME": str(tmp_path / "trial.sqlite3")}}
    yield Site(tmp_path, sqlite)
    _see_that_nothing_is_left(mark)


@pytest.fixture
def site_anywhere(database: str, tmp_path: Path, mark: str) -> Iterator[Site]:
    """A project on a database that is like one of ours."""
    settings: dict[str, Any] = {**connections[database].settings_dict, "TEST": {}}
    settings["NAME"] = f"{settings['NAME'].removeprefix('test_')}_plugin"
    yield Site(tmp_path, settings)
    _see_that_nothing_is_left(mark)


def _see_that_nothing_is_left(mark: str) -> None:
    left = left_of(marked(mark), 5)
    for pid in left:
        calls.kill(pid)
    assert not left
