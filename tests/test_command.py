"""`manage.py concurrent_call_wrapper`: one call by hand."""

import base64
import json
import os
import pickle
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from aioconcurrent.management.commands.concurrent_call_wrapper import Command
from tests.project.databases import on
from tests.project.shop.models import Counter

ROOT = Path(__file__).parent.parent
ECHOES = "tests.project.echoes"


def call(target: str, *options: str, **kwargs: Any) -> str:
    """Call `target` as a call by hand does, in this process; returns what is printed on stdout."""
    stdout = StringIO()
    written = ["--kwargs", json.dumps(kwargs)] if kwargs else []
    call_command(Command(), target, *written, *options, stdout=stdout, stderr=StringIO())
    return stdout.getvalue()


@pytest.mark.parametrize("function", ["echo", "echo_async"])
@pytest.mark.parametrize("value", [None, 0, "text", [1, {"a": 2.5}]])
def test_the_result_is_printed_as_json(function: str, value: object) -> None:
    assert call(f"{ECHOES}:{function}", value=value) == f"{json.dumps(value)}\n"


def test_a_date_is_printed_as_django_writes_it_in_json() -> None:
    assert call("datetime:date.today") == f'"{date.today()}"\n'  # noqa: DTZ011 - as the function


def test_pickle_carries_what_json_cannot() -> None:
    value = {"when": date(2026, 1, 2), "keys": {1, 2}}
    kwargs = base64.b64encode(pickle.dumps({"value": value})).decode()
    printed = call(f"{ECHOES}:echo", "--serializer", "pickle", "--kwargs", kwargs)
    assert pickle.loads(base64.b64decode(printed)) == value


def test_the_options_have_the_short_forms_of_the_predecessor() -> None:
    assert call(f"{ECHOES}:echo", "-t", "-s", "json", "-k", '{"value": 1}') == "1\n"


def test_what_the_function_prints_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    call_command(Command(), f"{ECHOES}:say", "--kwargs", '{"text": "hello"}')
    stdout, stderr = capfd.readouterr()
    assert stdout == '"hello"\n'
    assert stderr.splitlines() == ["print: hello", "shell: hello"]


def test_the_streams_are_put_back(capfd: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout
    with pytest.raises(CommandError):
        call_command(Command(), f"{ECHOES}:fail", "--kwargs", '{"text": "no"}')
    assert sys.stdout is before
    capfd.readouterr()
    os.write(1, b"after")
    assert capfd.readouterr().out == "after"


def test_an_error_is_named_and_its_traceback_is_on_stderr() -> None:
    stderr = StringIO()
    with pytest.raises(CommandError, match=f"^{ECHOES}:fail failed: LookupError: not here$"):
        call_command(Command(), f"{ECHOES}:fail", "--kwargs", '{"text": "not here"}', stderr=stderr)
    assert "raise LookupError(text)" in stderr.getvalue()


def test_a_function_that_exits_is_an_error() -> None:
    with pytest.raises(CommandError, match=f"^{ECHOES}:leave failed: SystemExit: 0$"):
        call(f"{ECHOES}:leave", status=0)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("tests.project.echoes.echo", 'The target is .* has the form "package.module:function"'),
        ("tests.project.nowhere:echo", "cannot be imported: ModuleNotFoundError: No module named"),
        ("tests.project.echoes:nothing", "cannot be imported: AttributeError: .* has no attribute 'nothing'"),
        ("tests.project.echoes:ECHO.echo", "cannot be imported: AttributeError"),
        ("os:sep", "failed: TypeError: 'str' object is not callable"),
    ],
)
def test_a_target_that_cannot_be_called_is_named(target: str, said: str) -> None:
    with pytest.raises(CommandError, match=said) as raised:
        call(target)
    assert target in str(raised.value)


@pytest.mark.parametrize(
    ("serializer", "kwargs"),
    [
        ("json", "value=1"),
        ("json", "[1]"),
        ("json", "1"),
        ("pickle", "{}"),
        ("pickle", base64.b64encode(pickle.dumps([1])).decode()),
        ("pickle", base64.b64encode(b"no pickle").decode()),
    ],
)
def test_kwargs_that_are_none_are_refused(serializer: str, kwargs: str) -> None:
    with pytest.raises(CommandError, match=f"^--kwargs is no {serializer} of keyword arguments: "):
        call(f"{ECHOES}:echo", "--serializer", serializer, "--kwargs", kwargs)


def test_a_result_that_cannot_be_printed_is_an_error() -> None:
    with pytest.raises(CommandError, match="What builtins:object returned cannot be printed as json: TypeError"):
        call("builtins:object")
    with pytest.raises(CommandError, match="What threading:Lock returned cannot be printed as pickle: Unpicklable"):
        call("threading:Lock", "--serializer", "pickle")


def test_inside_a_test_the_databases_are_those_of_the_test(database: str) -> None:
    counter = Counter.objects.using(database).create(name="clicks")
    call("tests.project.shop.calls:increment_atomically", pk=counter.pk, using=database)
    counter.refresh_from_db()
    assert counter.value == 1


@dataclass
class Project:
    """A small project on disk, with a manage.py."""

    folder: Path

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
        return subprocess.run(
            [sys.executable, str(self.folder / "manage.py"), "concurrent_call_wrapper", *arguments],
            cwd=self.folder.parent,
            env={**environment, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def configure(self, databases: dict[str, Any], **settings: Any) -> None:
        own = {
            "SECRET_KEY": "only for tests",
            "INSTALLED_APPS": ["aioconcurrent", "tests.project.shop"],
            "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
            "DATABASES": databases,
            **settings,
        }
        written = "".join(f"{name} = {value!r}\n" for name, value in own.items())
        driver = "from tests import servers\nservers.choose_mysql_driver()\n"
        (self.folder / "own_settings.py").write_text(driver + written)

    def sqlite(self, name: str, **test: str) -> dict[str, Any]:
        """Connection settings of a file in the project's folder; the test database is another one."""
        settings = {"NAME": str(self.folder / name), "TEST": {key: str(self.folder / test[key]) for key in test}}
        return {"ENGINE": "django.db.backends.sqlite3", **settings}

    def make(self, name: str) -> str:
        """Make an empty database in the project's folder; returns its path."""
        path = self.folder / name
        with closing(sqlite3.connect(path)) as database:
            database.execute("CREATE TABLE anything (id)")
        return str(path)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "manage.py").write_text(
        "import os, sys\n"
        "from django.core.management import execute_from_command_line\n"
        'os.environ["DJANGO_SETTINGS_MODULE"] = "own_settings"\n'
        "execute_from_command_line(sys.argv)\n"
    )
    made = Project(folder)
    made.configure({"default": made.sqlite("shop.sqlite3", NAME="test_shop.sqlite3")})
    return made


def test_by_hand_the_connections_are_on_the_test_databases(project: Project) -> None:
    test_database = project.make("test_shop.sqlite3")
    ran = project.manage(f"{ECHOES}:database_name")
    assert (ran.stdout, ran.stderr, ran.returncode) == (f"{json.dumps(test_database)}\n", "", 0)
    assert not (project.folder / "shop.sqlite3").exists()


def test_on_request_they_are_on_those_of_the_settings(project: Project) -> None:
    real_database = project.make("shop.sqlite3")
    ran = project.manage(f"{ECHOES}:database_name", "--no-test-db")
    assert (ran.stdout, ran.returncode) == (f"{json.dumps(real_database)}\n", 0)


@pytest.mark.parametrize("alias", ["mirror", "same"])
def test_mirrors_and_second_aliases_are_on_the_test_database_of_the_first(project: Project, alias: str) -> None:
    first = project.sqlite("shop.sqlite3", NAME="test_shop.sqlite3")
    mirror = {**project.sqlite("replica.sqlite3"), "TEST": {"MIRROR": "default"}}
    project.configure({"default": first, "mirror": mirror, "same": first})
    test_database = project.make("test_shop.sqlite3")
    ran = project.manage(f"{ECHOES}:database_name", "--kwargs", json.dumps({"alias": alias}))
    assert (ran.stdout, ran.returncode) == (f"{json.dumps(test_database)}\n", 0)


def test_a_test_database_in_memory_is_refused(project: Project) -> None:
    project.configure({"default": project.sqlite("shop.sqlite3")})
    ran = project.manage(f"{ECHOES}:database_name")
    assert (ran.stdout, ran.returncode) == ("", 1)
    assert "CommandError: The test database of 'default' is in memory, which cannot be shared" in ran.stderr
    assert "DATABASES['default']['TEST']['NAME']" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_test_database_that_does_not_exist_is_refused_and_not_made(project: Project) -> None:
    ran = project.manage(f"{ECHOES}:database_name")
    assert (ran.stdout, ran.returncode) == ("", 1)
    assert re.search(
        r"^CommandError: The test database of 'default', '.*test_shop.sqlite3', cannot be used", ran.stderr
    )
    assert not (project.folder / "test_shop.sqlite3").exists()


@pytest.mark.parametrize("database", on("postgresql", "mysql"))
def test_on_a_server_it_finds_the_test_database_by_djangos_rule(database: str, project: Project) -> None:
    settings = {**connections[database].settings_dict, "TEST": {}}
    settings["NAME"] = settings["NAME"].removeprefix("test_")
    project.configure({"default": settings})
    counter = Counter.objects.using(database).create(name="clicks")
    target, kwargs = "tests.project.shop.calls:increment_atomically", json.dumps({"pk": counter.pk})
    ran = project.manage(target, "--kwargs", kwargs)
    assert (ran.stdout, ran.stderr, ran.returncode) == ("null\n", "", 0)
    counter.refresh_from_db()
    assert counter.value == 1


@pytest.mark.parametrize("database", on("postgresql", "mysql"))
def test_on_a_server_without_the_test_database_it_says_so(database: str, project: Project) -> None:
    project.configure({"default": {**connections[database].settings_dict, "NAME": "no_such", "TEST": {}}})
    ran = project.manage(f"{ECHOES}:database_name")
    assert (ran.stdout, ran.returncode) == ("", 1)
    assert "CommandError: The test database of 'default', 'test_no_such', cannot be used" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("options", [(), ("--no-test-db",)])
def test_the_call_is_in_djangos_test_environment(project: Project, options: tuple[str, ...]) -> None:
    project.configure({"default": project.sqlite("shop.sqlite3", NAME="test_shop.sqlite3")}, DEBUG=True)
    project.make("test_shop.sqlite3")
    for name, value in (("DEBUG", False), ("EMAIL_BACKEND", "django.core.mail.backends.locmem.EmailBackend")):
        ran = project.manage(f"{ECHOES}:setting", "--kwargs", json.dumps({"name": name}), *options)
        assert ran.stdout == f"{json.dumps(value)}\n", ran.stderr


def test_an_error_ends_the_command_with_status_1(project: Project) -> None:
    ran = project.manage(f"{ECHOES}:fail", "--no-test-db", "--kwargs", '{"text": "not here"}')
    assert (ran.stdout, ran.returncode) == ("", 1)
    assert "raise LookupError(text)" in ran.stderr
    assert ran.stderr.splitlines()[-1] == f"CommandError: {ECHOES}:fail failed: LookupError: not here"
