"""Races in the processes of test runners: each on the databases of its own process."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from tests.project.databases import on, thorough
from tests.project.scripts import output_of, run

SETTINGS = """
import os
import tests.project.settings  # chooses the driver for MySQL

SECRET_KEY = "only for tests"
INSTALLED_APPS = ["tests.project.shop"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DEBUG = True
DATABASES = {databases!r}
"""
MANAGE = """
import os, sys
from django.core.management import execute_from_command_line

os.environ["DJANGO_SETTINGS_MODULE"] = "own_settings"
execute_from_command_line(sys.argv)
"""
TESTS = """
import json, os
from pathlib import Path

from django.conf import settings
from django.db import connections
from django.test import TransactionTestCase

from aioconcurrent.sync import call_concurrently
from tests.project.echoes import database_name, setting
from tests.project.queries import create, names
from tests.project.shop.models import Counter


class Test{name}(TransactionTestCase):
    databases = "__all__"

    def test_race(self):
        Counter.objects.create(name="{name}")
        call_concurrently(2, create, "call of {name}").raise_errors()
        Path("{name}.json").write_text(json.dumps({{
            "pid": os.getpid(),
            "database": str(connections["default"].settings_dict["NAME"]),
            "databases of the calls": call_concurrently(2, database_name),
            "names": names(),
            "names in the calls": call_concurrently(1, names)[0],
            "names in the mirror": call_concurrently(1, names, "mirror")[0] if "mirror" in connections else None,
            "debug": [settings.DEBUG, *call_concurrently(1, setting, "DEBUG")],
        }}))
"""
NAMES = ("One", "Two")


@pytest.fixture
def project(database: str, tmp_path: Path) -> Path:
    """A folder with a small project of two test modules, on a database that is like one of ours."""
    settings: dict[str, Any] = {"ENGINE": "django.db.backends.sqlite3"}
    if database != "default":
        settings = {**connections[database].settings_dict, "TEST": {}}
        settings["NAME"] = f"{settings['NAME'].removeprefix('test_')}_inner"
    return make_project(tmp_path, {"default": settings})


def make_project(folder: Path, databases: dict[str, Any]) -> Path:
    (folder / "own_settings.py").write_text(SETTINGS.format(databases=databases))
    (folder / "manage.py").write_text(MANAGE)
    for name in NAMES:
        (folder / f"test_{name.lower()}.py").write_text(TESTS.format(name=name))
    return folder


def check(folder: Path) -> list[dict[str, Any]]:
    """What the two tests wrote down, each of which must have had its own rows."""
    reports = []
    for name in NAMES:
        report = json.loads((folder / f"{name}.json").read_text())
        assert report["names"] == report["names in the calls"] == [name, *[f"call of {name}"] * 2]
        reports.append(report)
    return reports


@pytest.mark.parametrize("database", [*thorough(on("default")), *on("postgresql")])
def test_workers_of_xdist_race_on_their_own_databases(project: Path, database: str) -> None:
    options = ["-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider", "-p", "no:anyio"]
    ran = run("-m", "pytest", "-q", "--ds=own_settings", *options, folder=project)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    one, two = check(project)
    assert one["pid"] != two["pid"]
    if database != "default":
        assert {one["database"][-4:], two["database"][-4:]} == {"_gw0", "_gw1"}
        assert one["databases of the calls"] == [one["database"]] * 2
        assert two["databases of the calls"] == [two["database"]] * 2


@pytest.mark.parametrize("database", on("default", "postgresql"))
def test_parallel_processes_of_manage_py_race_on_their_own_clones(project: Path, database: str) -> None:
    ran = run("manage.py", "test", "--parallel", "2", folder=project)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    one, two = check(project)
    assert one["pid"] != two["pid"]
    if database != "default":
        assert {one["database"][-2:], two["database"][-2:]} == {"_1", "_2"}
        assert one["databases of the calls"] == [one["database"]] * 2
        assert two["databases of the calls"] == [two["database"]] * 2


@pytest.mark.parametrize("in_memory", [True, False], ids=["memory", "file"])
def test_a_test_run_of_manage_py_has_mirrors_and_its_own_settings(tmp_path: Path, *, in_memory: bool) -> None:
    sqlite = "django.db.backends.sqlite3"
    test: dict[str, str] = {} if in_memory else {"NAME": str(tmp_path / "trial.sqlite3")}
    default: dict[str, Any] = {"ENGINE": sqlite, "NAME": str(tmp_path / "shop.sqlite3"), "TEST": test}
    mirror: dict[str, Any] = {
        "ENGINE": sqlite,
        "NAME": str(tmp_path / "replica.sqlite3"),
        "TEST": {"MIRROR": "default"},
    }
    make_project(tmp_path, {"default": default, "mirror": mirror})
    ran = run("manage.py", "test", folder=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for report in check(tmp_path):
        assert report["names in the mirror"] == report["names"]
        assert report["debug"] == [False, False]


FORKED = """
import os
from aioconcurrent.sync import call_concurrently

before = call_concurrently(1, os.getppid)
reader, writer = os.pipe()
if os.fork() == 0:
    os.write(writer, str(call_concurrently(1, os.getppid)[0]).encode())
    os._exit(0)
os.wait()
print(os.read(reader, 100) != str(before[0]).encode(), call_concurrently(1, os.getppid) == before)
"""


def test_a_fork_of_the_caller_has_a_template_of_its_own_and_leaves_the_callers_alone(tmp_path: Path) -> None:
    assert output_of(FORKED, tmp_path, AIOCONCURRENT_START_METHOD="fork") == "True True\n"
