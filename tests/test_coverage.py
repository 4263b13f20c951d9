"""Code that runs in wrappers is measured by coverage.py, set up as for any program with subprocesses."""

import json
from pathlib import Path

import pytest

from tests.project.scripts import run

CONFIGURATION = """
[tool.coverage.run]
branch = true
patch = ["subprocess"]
source = ["till"]
"""
CODE = """
def buy(amount):
    if amount:
        return "in a wrapper"
    return "nowhere"


async def refund(amount):
    return amount


def fail():
    raise LookupError
"""
TESTS = """
import till
from aioconcurrent.sync import call_concurrently


def test_calls():
    assert call_concurrently(2, till.buy, 1) == ["in a wrapper"] * 2
    assert call_concurrently(1, till.refund, 1) == [1]
    assert len(call_concurrently(1, till.fail).errors) == 1
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in {"pyproject.toml": CONFIGURATION, "till.py": CODE, "test_till.py": TESTS}.items():
        (tmp_path / name).write_text(text.lstrip())
    return tmp_path


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_coverage_measures_what_calls_run(project: Path, start_method: str) -> None:
    plugins = ["-p", "no:django", "-p", "no:anyio", "-p", "no:cacheprovider"]
    command = ["-m", "coverage", "run", "-m", "pytest", "-q", *plugins]
    ran = run(*command, folder=project, AIOCONCURRENT_START_METHOD=start_method)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for command in (["combine", "-q"], ["json", "-q", "-o", "coverage.json"]):
        assert run("-m", "coverage", *command, folder=project).returncode == 0
    measured = json.loads((project / "coverage.json").read_text())["files"]["till.py"]
    assert measured["missing_lines"] == [CODE.lstrip().splitlines().index('    return "nowhere"') + 1]
    assert measured["missing_branches"] == [[2, 4]]
