"""Requests as calls: the tests in `tests/web/requests.py`, in a project with views, on one database and another."""

import os

import pytest

from tests.project.databases import on, thorough
from tests.project.scripts import ROOT, run


@pytest.mark.parametrize("database", [*on("default"), *thorough(on("postgresql"))])
def test_requests_are_calls(database: str) -> None:
    command = ["-m", "pytest", "-q", "--ds=tests.web.settings", "--noconftest", "tests/web/requests.py"]
    ran = run(*command, folder=ROOT, **{**os.environ, "AIOCONCURRENT_TEST_WEB_DATABASE": database})
    assert ran.returncode == 0, ran.stdout + ran.stderr
