"""Whether another machine has the same project, without another machine."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from aioconcurrent.engine.surroundings import Surroundings
from aioconcurrent.running.cluster.assignment import Fingerprint, relocated


@pytest.fixture(scope="module")
def mine() -> Fingerprint:
    return Fingerprint.capture()


def test_a_machine_is_like_itself_and_its_own_files_are_compared(mine: Fingerprint) -> None:
    assert mine.differences(os.getcwd()) == ""
    assert os.path.abspath(__file__) in mine.files
    assert not [path for path in mine.files if "site-packages" in path or path.startswith(os.path.dirname(os.__file__))]


def test_another_version_is_told_with_both(mine: Fingerprint) -> None:
    other = replace(mine, versions={**mine.versions, "Python": "3.0.1"})
    assert other.differences(os.getcwd()) == f"it has Python {platform.python_version()}, and the test 3.0.1"


def test_other_packages_are_compared_where_both_machines_have_them(mine: Fingerprint) -> None:
    assert mine.packages["pytest"] == pytest.__version__
    other = replace(mine, packages={"pytest": "1.0", "seats-for-sale": "1.0"})
    assert other.differences(os.getcwd()) == f"it has pytest {pytest.__version__}, and the test 1.0"


def test_a_driver_that_is_not_there_is_told(mine: Fingerprint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    other = replace(mine, versions={"psycopg2": "2.9.11"})
    assert other.differences(os.getcwd()) == "it has psycopg2 (not installed), and the test 2.9.11"


def test_a_driver_that_has_no_version_but_its_parts_is_compared_by_them(
    mine: Fingerprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "MySQLdb", SimpleNamespace(version_info=(2, 2, 0)))
    other = replace(mine, versions={"MySQLdb": "(2, 2, 8)"})
    assert other.differences(os.getcwd()) == "it has MySQLdb (2, 2, 0), and the test (2, 2, 8)"


def test_files_that_differ_and_files_that_are_not_there_are_told(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    here.mkdir()
    (here / "models.py").write_text("b = 2")
    files = {str(there / "models.py"): "0" * 64, str(there / "views.py"): "0" * 64}
    told = Fingerprint({}, {}, files, str(there)).differences(str(here))
    assert f"{here / 'models.py'} is not what {there / 'models.py'} is for the test" in told
    assert f"it has no {there / 'views.py'}, as the test has" in told


def test_a_path_is_where_it_is_or_else_in_the_folder_of_the_worker(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    assert relocated(str(there / "a" / "b.py"), str(there), str(here)) == str(here / "a" / "b.py")
    there.mkdir()
    assert relocated(str(there), str(there), str(here)) == str(there)
    assert relocated("/elsewhere/b.py", str(there), str(here)) == "/elsewhere/b.py"


def test_the_environment_is_that_of_the_test_but_for_what_says_something_of_the_machine(
    mine: Fingerprint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGHOST", "mine")
    monkeypatch.delenv("PGPORT", raising=False)
    surroundings = replace(
        Surroundings.capture(),
        environment={"DATABASE_URL": "theirs", "HOME": "/theirs", "PGHOST": "theirs", "PGPORT": "1"},
        path=["/gone", "/usr/lib/python3/site-packages"],
        directory="/gone",
    )
    settled = mine.settled(surroundings, str(tmp_path))
    assert settled.environment["DATABASE_URL"] == "theirs"
    assert (settled.environment["PGHOST"], settled.environment["PGPORT"]) == ("mine", "1")
    assert settled.environment.get("HOME") == os.environ.get("HOME")
    assert settled.environment["PATH"] == os.environ["PATH"]
    assert "/usr/lib/python3/site-packages" not in settled.path
    assert set(sys.path) <= set(settled.path)
    assert settled.directory == str(tmp_path)
