"""The caller's process is killed or interrupted: whatever it started ends, too."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from django.db import connections

from tests.faults.processes import left_of, signed_in, wait_until
from tests.faults.projects import Project
from tests.project.databases import on

STAY = """
import signal
from pathlib import Path
from aioconcurrent.sync import call_concurrently, make_concurrent_calls, options
from tests.faults import calls

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
folder = Path("signed-in")
with options(start_method="{start_method}"):
    {statement}
"""


@contextmanager
def running(project: Project, start_method: str, statement: str, expected: int) -> Iterator[subprocess.Popen[str]]:
    """A program that is in the middle of a race, when that many processes have signed in."""
    with project.start(STAY.format(start_method=start_method, statement=statement)) as parent:
        try:
            assert wait_until(lambda: len(signed_in(project.folder / "signed-in")) == expected or ended(parent))
            assert not ended(parent), parent.communicate()[1]
            yield parent
        finally:
            parent.kill()


def ended(process: subprocess.Popen[str]) -> bool:
    return process.poll() is not None


def family(project: Project) -> set[int]:
    """Those that signed in, and who started them: with "fork" the template."""
    pids = set(signed_in(project.folder / "signed-in"))
    return pids | {psutil.Process(pid).ppid() for pid in pids}


@pytest.mark.parametrize("escaping", [False, True])
def test_a_killed_parent_takes_everything_with_it(start_method: str, escaping: bool, tmp_path: Path) -> None:
    project = Project(tmp_path)
    statement = f"call_concurrently(2, calls.stay_with_children, folder, escaping={escaping})"
    with running(project, start_method, statement, expected=6) as parent:
        pids = family(project) - {parent.pid}
        assert len(pids) > 6
        parent.kill()
        assert not left_of(pids)


def test_a_killed_parent_takes_along_a_template_that_was_stopped(tmp_path: Path) -> None:
    project = Project(tmp_path)
    with running(project, "fork", "call_concurrently(1, calls.sign_in_and_stay, folder)", expected=1) as parent:
        pids = family(project) - {parent.pid}
        for pid in pids - set(signed_in(project.folder / "signed-in")):
            os.kill(pid, signal.SIGSTOP)
        parent.kill()
        assert not left_of(pids)


def test_a_killed_parent_takes_along_who_blocks_every_signal(start_method: str, tmp_path: Path) -> None:
    project = Project(tmp_path)
    with running(project, start_method, "call_concurrently(2, calls.stay_deaf, folder)", expected=2) as parent:
        pids = family(project) - {parent.pid}
        parent.kill()
        assert not left_of(pids)


def test_a_parent_killed_before_the_barrier_takes_everything_with_it(start_method: str, tmp_path: Path) -> None:
    project = Project(tmp_path)
    statement = 'with options(prepare="site_app.calls:sign_in_and_stay"): call_concurrently(2, calls.run, folder)'
    with running(project, start_method, "\n    " + statement, expected=2) as parent:
        pids = family(project) - {parent.pid}
        parent.kill()
        assert not left_of(pids)
    assert not (project.folder / "signed-in" / "run").exists()


def test_a_parent_killed_while_the_project_starts_takes_everything_with_it(start_method: str, tmp_path: Path) -> None:
    project = Project(tmp_path, ready="if IS_CHILD:\n    from site_app import calls; calls.sign_in_and_stay()")
    with running(project, start_method, "call_concurrently(1, calls.run, folder)", expected=1) as parent:
        pids = set(signed_in(project.folder / "signed-in"))
        parent.kill()
        assert not left_of(pids)


INTERRUPTED = """
    try:
        call_concurrently(2, calls.{function}, folder)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    print(list(call_concurrently(2, calls.answer)), flush=True)
"""


@pytest.mark.parametrize("function", ["stay_with_children", "tell_of_termination"])
def test_an_interrupted_parent_ends_its_race_and_goes_on(start_method: str, function: str, tmp_path: Path) -> None:
    project = Project(tmp_path)
    expected = 6 if function == "stay_with_children" else 2
    with running(project, start_method, INTERRUPTED.format(function=function), expected) as parent:
        parent.send_signal(signal.SIGINT)
        output, errors = parent.communicate(timeout=60)
    assert (output.splitlines(), errors) == (["interrupted", "[42, 42]"], "")
    assert not left_of(signed_in(project.folder / "signed-in"))


def test_a_parent_interrupted_twice_leaves_nothing(start_method: str, tmp_path: Path) -> None:
    project = Project(tmp_path)
    statement = "call_concurrently(2, calls.tell_of_termination, folder)"
    with running(project, start_method, statement, expected=2) as parent:
        pids = family(project) - {parent.pid}
        parent.send_signal(signal.SIGINT)
        assert wait_until((project.folder / "signed-in" / "terminated").exists)
        parent.send_signal(signal.SIGINT)
        _, errors = parent.communicate(timeout=60)
    assert errors.splitlines()[-1] == "KeyboardInterrupt"
    assert not left_of(pids)


def test_a_parent_that_exits_in_order_takes_its_template_along(tmp_path: Path) -> None:
    project = Project(tmp_path)
    template = project.run(
        """
        import json
        from aioconcurrent.sync import call_concurrently
        from tests.faults import calls
        print(json.dumps(call_concurrently(1, calls.get_pids)[0][1]))
        """
    )
    assert not left_of([template])


FORK = """
import os, threading, time
from pathlib import Path
from aioconcurrent.sync import call_concurrently, options
from tests.faults import calls
from tests.faults.processes import signed_in, wait_until

folder = Path("signed-in")

def fork():
    wait_until(lambda: len(signed_in(folder)) == 2)
    pid = os.fork()
    if pid == 0:
        time.sleep(600)
    Path("copies", str(pid)).touch()

threading.Thread(target=fork, daemon=True).start()
with options(start_method="{start_method}"):
    call_concurrently(2, calls.sign_in_and_stay, folder)
"""


def test_a_copy_of_a_killed_caller_keeps_no_call_alive(start_method: str, tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("copies/empty", "")
    with project.start(FORK.format(start_method=start_method)) as parent:
        assert wait_until(lambda: len(signed_in(tmp_path / "copies")) == 1)
        [copy] = signed_in(tmp_path / "copies")
        parent.kill()
        try:
            assert not left_of(signed_in(tmp_path / "signed-in"))
            assert psutil.pid_exists(copy)
        finally:
            psutil.Process(copy).kill()


LENDING = """
from django.db import connection
    connection.cursor().execute("CREATE TABLE held (id integer)")
    call_concurrently(2, calls.sign_in_and_stay, folder)
"""


def test_a_killed_parent_leaves_no_file_of_a_database_in_memory(start_method: str, tmp_path: Path) -> None:
    project = Project(tmp_path, settings='DATABASES["default"]["NAME"] = ":memory:"')
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    project.environment["TMPDIR"] = str(temporary)
    with running(project, start_method, LENDING.strip(), expected=2) as parent:
        assert len(list(temporary.iterdir())) == 1
        parent.kill()
        parent.wait()
    if start_method == "spawn":  # nobody is left who could: the next one does
        with running(project, start_method, LENDING.strip(), expected=4):
            assert len(list(temporary.iterdir())) == 1
        return
    assert wait_until(lambda: not list(temporary.iterdir()))


MYSQL = """
from tests import servers
servers.choose_mysql_driver()
DATABASES["default"] = {{
    **servers.connection_settings(servers.find_mysql()), "ENGINE": "django.db.backends.mysql", "NAME": "{name}"
}}
"""
BUSY = """
import os
from pathlib import Path
from django.db import connection

def keep_busy(folder):
    with connection.cursor() as cursor:
        Path(folder, str(os.getpid())).touch()
        cursor.execute("SELECT BENCHMARK(100000000000, SHA2('busy', 512))")
"""


@pytest.mark.parametrize("database", on("mysql"))
def test_a_killed_parent_leaves_no_statement_on_the_server(database: str, tmp_path: Path) -> None:
    name = connections[database].settings_dict["NAME"]
    project = Project(tmp_path, settings=MYSQL.format(name=name))
    project.write("site_app/busy.py", BUSY)
    with running(project, "fork", 'call_concurrently(2, "site_app.busy:keep_busy", "signed-in")', expected=2) as parent:
        assert wait_until(lambda: busy_statements(database) == 2)
        parent.kill()
        assert wait_until(lambda: busy_statements(database) == 0)


def busy_statements(database: str) -> int:
    with connections[database].cursor() as cursor:
        cursor.execute(
            "SELECT COUNT(*) FROM information_schema.processlist"
            " WHERE db = DATABASE() AND info LIKE 'SELECT BENCHMARK%%'"
        )
        return int(cursor.fetchone()[0])


LENT = """
import json, os, sys, tempfile
from pathlib import Path
from django.db import connection
from aioconcurrent.sync import call_concurrently, options
from tests.faults import calls
from tests.faults.processes import wait_until

tempfile.tempdir = str(Path("temporary").resolve())
connection.cursor().execute("CREATE TABLE shop (id integer)")
with options(start_method="{start_method}"):
    call_concurrently(1, calls.sign_in_and_stay if {stays} else calls.answer, Path("signed-in"))
print(json.dumps(os.listdir("temporary")))
"""
IN_MEMORY = 'DATABASES["default"]["NAME"] = ":memory:"'


def test_the_database_that_another_parent_has_lent_stays(tmp_path: Path) -> None:
    project = Project(tmp_path, settings=IN_MEMORY)
    project.write("temporary/others/file", "")
    with project.start(LENT.format(start_method="fork", stays=True)) as parent:
        try:
            assert wait_until(lambda: bool(signed_in(tmp_path / "signed-in")) or ended(parent))
            lent = sorted(path.name for path in (tmp_path / "temporary").iterdir())
            assert sorted(project.run(LENT.format(start_method="fork", stays=False))) == lent
        finally:
            parent.kill()
