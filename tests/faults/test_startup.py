"""Projects that do unusual things while they start: in the template, and in every new interpreter."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.faults.projects import Project

RACE = """
import json, sys
from aioconcurrent.sync import make_concurrent_calls, options

def race(start_method):
    with options(start_method=start_method):
        return make_concurrent_calls(("site_app.calls:answer", {}), ("site_app.calls:answer", {}))

def tell(outcomes):
    return [
        item if isinstance(item, int) else [str(item), type(item.error).__name__, getattr(item.error, "__notes__", [])]
        for item in outcomes
    ]
"""
BOTH = RACE + "print(json.dumps({method: tell(race(method)) for method in ('fork', 'spawn')}))"


@pytest.mark.parametrize("module", ["site_settings", "sitecustomize"])
def test_what_is_printed_at_import_gets_in_nobodys_way(tmp_path: Path, module: str) -> None:
    noisy = """
import os, sys
print("loud")
print("louder", file=sys.stderr)
os.write(1, b"loudest\\n" * 20_000)
"""
    project = Project(tmp_path)
    file = tmp_path / f"{module}.py"
    file.write_text(noisy + (file.read_text() if file.exists() else ""))
    assert project.run(BOTH) == {"fork": [42, 42], "spawn": [42, 42]}
    assert "loudest" in project.printed[0]


def test_settings_that_fail_in_the_new_process_fail_each_call_with_their_error(tmp_path: Path) -> None:
    project = Project(
        tmp_path, settings="import os\nif 'AIOCONCURRENT_PARENT_PID' in os.environ: raise OSError('no key')"
    )
    check_failed(project.run(BOTH), "OSError", "no key")


def test_settings_that_fail_in_the_caller_too_fail_there_with_their_error(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("broken_settings.py", "raise OSError('no key')")
    told = project.run(
        """
        import json, os
        from django.conf import LazySettings
        import django.conf
        os.environ["DJANGO_SETTINGS_MODULE"] = "broken_settings"
        django.conf.settings._wrapped = django.conf.empty
        from aioconcurrent.sync import call_concurrently
        try:
            call_concurrently(2, "site_app.calls:answer")
        except OSError as error:
            print(json.dumps(str(error)))
        """
    )
    assert told == "no key"


def test_an_app_that_raises_in_ready_fails_each_call_with_its_error(tmp_path: Path) -> None:
    project = Project(tmp_path, ready="if IS_CHILD: raise LookupError('no such service')")
    check_failed(project.run(BOTH), "LookupError", "no such service")


def test_an_app_that_exits_in_ready_fails_each_call_with_its_exit(tmp_path: Path) -> None:
    project = Project(tmp_path, ready="import sys\nif IS_CHILD: sys.exit('not configured')")
    check_failed(project.run(BOTH), "SystemExit", "not configured")


def test_an_app_that_ends_the_process_in_ready_fails_each_call_with_the_status(tmp_path: Path) -> None:
    project = Project(tmp_path, ready="import os\nif IS_CHILD: os._exit(7)")
    told = project.run(BOTH)
    for number, (text, kind, _) in enumerate(told["spawn"], 1):
        assert kind == "ProcessDiedError"
        assert f"call {number} of 2, site_app.calls.answer()" in text
        assert "exited with status 7 while starting" in text
    for number, (text, kind, _) in enumerate(told["fork"], 1):
        assert kind == "ProcessDiedError"
        assert f"call {number} of 2, site_app.calls.answer()" in text
        assert "while starting" in text


def check_failed(told: dict[str, Any], kind: str, message: str) -> None:
    for start_method in ("fork", "spawn"):
        assert len(told[start_method]) == 2
        for number, (text, type_name, notes) in enumerate(told[start_method], 1):
            assert f"call {number} of 2, site_app.calls.answer()" in text
            assert f"{kind}: {message}" in text
            assert type_name == kind
            assert "start" in notes[0], "the text says when it happened"
            assert "project" in notes[0]


def test_an_app_that_queries_in_ready_finds_the_test_database(tmp_path: Path) -> None:
    project = Project(
        tmp_path,
        settings="DATABASES['default']['TEST'] = {'NAME': FOLDER / 'test.sqlite3'}",
        ready="""
        if IS_CHILD:
            from django.db import connection
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO started VALUES ('child')")
        """,
    )
    with closing(sqlite3.connect(tmp_path / "real.sqlite3")) as real:
        real.execute("CREATE TABLE started (who)")
    told = project.run(
        RACE
        + """
from django.db import connection
from django.test.runner import DiscoverRunner

databases = DiscoverRunner(verbosity=0, interactive=False).setup_databases()
with connection.cursor() as cursor:
    cursor.execute("CREATE TABLE started (who)")
told = {}
for method in ("fork", "spawn"):
    told[method] = tell(race(method))
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM started")
        told["started by " + method] = cursor.fetchone()[0]
        cursor.execute("DELETE FROM started")
print(json.dumps(told))
"""
    )
    assert told == {"fork": [42, 42], "started by fork": 1, "spawn": [42, 42], "started by spawn": 2}
    assert "TemplateWarning" not in project.printed[1]
    with closing(sqlite3.connect(tmp_path / "real.sqlite3")) as real:
        assert real.execute("SELECT count(*) FROM started").fetchone() == (0,)


def test_an_app_that_starts_a_thread_is_spawned_with_a_warning_that_says_why(tmp_path: Path) -> None:
    project = Project(
        tmp_path,
        ready="""
        import threading, time
        threading.Thread(target=time.sleep, args=[600], name="heartbeat", daemon=True).start()
        """,
    )
    told = project.run(
        RACE
        + """
import warnings
told = {}
for method in ("fork", "fork", "spawn"):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        values = tell(race(method))
    told.setdefault(method, []).append([values, [[w.category.__name__, str(w.message)] for w in caught]])
print(json.dumps(told))
"""
    )
    assert told["spawn"] == [[[42, 42], []]]
    for values, [[category, text]] in told["fork"]:
        assert values == [42, 42]
        assert category == "TemplateWarning"
        assert "1 thread(s) running (heartbeat)" in text
        assert 'start_method to "spawn"' in text
