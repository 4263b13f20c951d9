"""Projects that do unusual things while they start: in the template, and in every new interpreter."""

import os
import sqlite3
import sys
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
        assert f"1 thread running: 'heartbeat' (of time, started in {tmp_path}/site_app/apps.py:" in text
        assert "options(allow_threads=[...])" in text
        assert 'start_method to "spawn"' in text


HEARTBEAT = """
import threading, time
threading.Thread(target=time.sleep, args=[600], name="heartbeat", daemon=True).start()
"""


def test_a_debugger_that_follows_into_new_processes_is_told_apart(tmp_path: Path) -> None:
    project = Project(tmp_path, ready="import _pydevd_bundle\n" + HEARTBEAT)
    project.write("_pydevd_bundle.py", "")
    [text] = project.run(
        RACE
        + """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    race("fork")
print(json.dumps([str(warning.message) for warning in caught]))
"""
    )
    assert 'set "subProcess": false' in text
    assert "allow_threads" not in text


OPENTELEMETRY = """
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
TracerProvider().add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
"""
SENTRY = """
import logging, sentry_sdk
sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", enable_logs=True)
logging.getLogger("site").error("an event, so that its thread begins")
"""
PROMETHEUS = """
import prometheus_client
prometheus_client.start_http_server(0, "127.0.0.1")
"""
FORKED = (
    RACE
    + """
import warnings
warnings.simplefilter("error")
race("fork").raise_errors()
print(json.dumps(tell(race("fork"))))
os._exit(0)  # without waiting for what agents have to send
"""
).replace("import json, sys", "import json, os, sys")


def test_threads_that_a_fork_survives_do_not_keep_a_project_from_being_forked(tmp_path: Path) -> None:
    assert Project(tmp_path, ready=OPENTELEMETRY + SENTRY + PROMETHEUS).run(FORKED) == [42, 42]


def test_threads_that_are_allowed_do_not_keep_a_project_from_being_forked(tmp_path: Path) -> None:
    told = Project(tmp_path, ready=HEARTBEAT).run(
        RACE
        + """
import os, warnings
warnings.simplefilter("error")
told = []
for pattern in ("heart*", "none, heartbeat", "time"):
    os.environ["AIOCONCURRENT_ALLOW_THREADS"] = pattern
    told.append(tell(race("fork")))
print(json.dumps(told))
"""
    )
    assert told == [[42, 42]] * 3


def test_agents_are_switched_off_where_the_project_starts_and_nowhere_else(tmp_path: Path) -> None:
    project = Project(
        tmp_path,
        settings="""
        import os
        AGENTS = [os.environ.get(name) for name in ("OTEL_SDK_DISABLED", "DD_TRACE_ENABLED", "NEW_RELIC_ENABLED")]
        """,
    )
    project.write(
        "site_app/agents.py",
        """
import os
def tell():
    from site_settings import AGENTS
    return AGENTS, [os.environ.get(name) for name in ("OTEL_SDK_DISABLED", "DD_TRACE_ENABLED", "NEW_RELIC_ENABLED")]
""",
    )
    told = project.run(
        """
        import json, os
        os.environ["DD_TRACE_ENABLED"] = "1"
        from aioconcurrent.sync import call_concurrently, options
        with options(start_method="fork"):
            print(json.dumps([call_concurrently(1, "site_app.agents:tell")[0] for _ in range(2)]))
        """
    )
    assert told == [[["true", "false", "false"], [None, "1", None]]] * 2


def test_a_project_that_does_not_start_in_time_says_where_it_is(tmp_path: Path) -> None:
    project = Project(tmp_path, ready="import time\nif IS_CHILD:\n    print('waiting for Kafka')\n    time.sleep(600)")
    told = project.run(
        RACE
        + """
with options(start_timeout=8):
    print(json.dumps(tell(race("fork"))))
"""
    )
    for text, kind, _ in told:
        assert kind == "TerminatedProcessError"
        assert "was still starting the project after 8 s" in text
        assert "options(start_timeout=...)" in text
        assert "waiting for Kafka" in text
        assert f'File "{tmp_path}/site_app/apps.py", line ' in text
        assert "in ready" in text


def test_a_project_may_take_longer_to_start_than_a_call_may_take(start_method: str, tmp_path: Path) -> None:
    project = Project(tmp_path, ready="import time\nif IS_CHILD:\n    time.sleep(2)")
    told = project.run(
        f"""
        import json
        from aioconcurrent.sync import call_concurrently, options
        with options(start_method={start_method!r}, timeout=1.5):
            print(json.dumps(call_concurrently(2, "site_app.calls:answer"), default=repr))
        """
    )
    assert told == [42, 42]


LATE = """
import importlib, sys

LIBRARIES = ["starts_thread", "opens_socket", "asks_database", "connects_signal", "changes_environment", "harmless"]

def find_and_import():
    found = [name for name in (*LIBRARIES, "site_app.late") if name in sys.modules]
    for name in (*LIBRARIES, "site_app.late"):
        importlib.import_module(name)
    return found
"""
LIBRARIES = {
    "starts_thread": "import threading, time\nthreading.Thread(target=time.sleep, args=[9], daemon=True).start()",
    "opens_socket": "import socket\nopened = socket.socket()",
    "asks_database": "from django.db import connection\nconnection.cursor().execute('SELECT 1')",
    "connects_signal": (
        "from django.db.models.signals import post_save\ndef receive(**_): pass\npost_save.connect(receive)"
    ),
    "changes_environment": "import os\nos.environ['CHANGED'] = '1'",
    "harmless": "answer = 42",
}


def test_what_calls_import_late_is_there_for_later_calls_unless_it_leaves_something_behind(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("site_app/late.py", "")
    project.write("site_app/imports.py", LATE)
    libraries = f"user/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    for name, text in LIBRARIES.items():
        project.write(f"{libraries}/{name}.py", text)
    project.environment = {
        **project.environment,
        "PYTHONUSERBASE": str(tmp_path / "user"),  # a folder of libraries that the test may write into
        "PYTHONPATH": f"{project.environment['PYTHONPATH']}{os.pathsep}{tmp_path / libraries}",
    }
    told = project.run(
        """
        import json
        from aioconcurrent.sync import call_concurrently, options
        from tests.faults.processes import wait_until

        found = []

        def is_known():
            found.append(call_concurrently(2, "site_app.imports:find_and_import"))
            found[-1].raise_errors()
            return "harmless" in found[-1][0]

        with options(start_method="fork", allow_real_databases=True):
            wait_until(is_known)
        print(json.dumps([found[0], found[-1]]))
        """
    )
    assert told == [[[], []], [["harmless"], ["harmless"]]]
