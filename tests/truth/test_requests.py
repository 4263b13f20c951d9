"""Requests and sessions, explored: the tests in `tests/web/explored.py`, in a project with views, on each database."""

import os

import pytest

from tests.project.databases import on, thorough
from tests.project.scripts import ROOT, run

# How answers are compared does not depend on the database, which rows are locked and seen does.
USUAL = {
    "file": [],
    "postgresql": ["-k", "two_users or key_of_a_session or session_ends"],
    "mysql": ["-k", "two_users or session_ends"],
}
ALL = {database: ["-m", ""] for database in USUAL}


@pytest.mark.parametrize("database", on(*USUAL))
@pytest.mark.parametrize("chosen", [pytest.param(USUAL, id="usual"), *thorough([pytest.param(ALL, id="all")])])
def test_requests_and_sessions_are_explored(chosen: dict[str, list[str]], database: str) -> None:
    command = ["-m", "pytest", "-q", "--ds=tests.web.settings", "--noconftest", "tests/web/explored.py"]
    variables = {**os.environ, "AIOCONCURRENT_TEST_WEB_DATABASE": database}
    ran = run(*command, *chosen[database], folder=ROOT, **variables)
    assert ran.returncode == 0, ran.stdout + ran.stderr
