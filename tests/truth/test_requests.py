"""Requests and sessions, explored: the tests in `tests/web/explored.py`, in a project with views, on each database."""

import os

import pytest

from tests.project.databases import on
from tests.project.scripts import ROOT, run


@pytest.mark.parametrize("database", on("file", "postgresql", "mysql"))
def test_requests_and_sessions_are_explored(database: str) -> None:
    command = ["-m", "pytest", "-q", "--ds=tests.web.settings", "--noconftest", "tests/web/explored.py"]
    ran = run(*command, folder=ROOT, **{**os.environ, "AIOCONCURRENT_TEST_WEB_DATABASE": database})
    assert ran.returncode == 0, ran.stdout + ran.stderr
