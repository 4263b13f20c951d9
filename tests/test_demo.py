"""`aioconcurrent demo`, run as a user runs it: in a process of its own, in some other directory."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from zipfile import ZipFile

import pytest
from django.db import connections

from aioconcurrent.__main__ import main
from tests import servers
from tests.project.databases import on, thorough

ROOT = Path(__file__).parent.parent
DEMO = [sys.executable, "-m", "aioconcurrent", "demo"]
ROW = re.compile(
    r"^ +(?P<pid>\d+)  (?P<returned>True|False) +(?P<started>[\d.]+) ms +(?P<ended>[\d.]+) ms  .*$", re.MULTILINE
)
VERDICT = re.compile(r"tickets sold: (\d+) +the row: seats_left=(-?\d+)")


@dataclass
class Place:
    """Where a demo is run."""

    directory: Path
    temporary: Path

    def environment(self, **variables: str) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(self.temporary), **variables}

    def run(self, *arguments: str, program: list[str] = DEMO, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*program, *arguments],
            cwd=self.directory,
            env=self.environment(**variables),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )


@dataclass
class Part:
    """What is printed of one version of `buy`."""

    rows: list[dict[str, str]]
    sold: int
    seats_left: int

    @property
    def returned(self) -> list[str]:
        return [row["returned"] for row in self.rows]


def parts(output: str) -> tuple[Part, Part]:
    """The naive and the safe part of what a demo printed."""
    naive, _, safe = output.partition("Safe:")
    read = []
    for text in (naive, safe):
        verdict = VERDICT.search(text)
        assert verdict, output
        read.append(Part([row.groupdict() for row in ROW.finditer(text)], int(verdict[1]), int(verdict[2])))
    return read[0], read[1]


def make_place(folder: Path) -> Place:
    place = Place(folder / "somewhere", folder / "tmp")
    place.directory.mkdir()
    place.temporary.mkdir()
    return place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_place(tmp_path)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """A demo with seven calls, of what the wheel has."""
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder / "wheels")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    ZipFile(next((folder / "wheels").glob("*.whl"))).extractall(folder / "packages")
    return make_place(folder).run("--calls", "7", PYTHONPATH=str(folder / "packages"))


@pytest.fixture(scope="module")
def shown(installed: subprocess.CompletedProcess[str]) -> str:
    """What it prints into a pipe."""
    return installed.stdout


@pytest.fixture
def url(database: str) -> str:
    """A URL for --database that names a database which is not the demo's; empty for SQLite."""
    settings = connections[database].settings_dict
    found = {"postgresql": servers.find_postgresql, "mysql": servers.find_mysql}
    return re.sub(r"/\w*(?=\?|$)", f"/{settings['NAME']}", found[database](), count=1) if database in found else ""


@pytest.fixture
def leftovers(database: str, place: Place) -> Iterator[list[str]]:
    """Collects names of databases of the demo, of which none may exist when the test is over."""
    names: list[str] = []
    yield names
    assert not list(place.temporary.iterdir())
    if database != "default":
        assert names, "the demo did not say which database it uses"
        query = {"postgresql": "SELECT datname FROM pg_database", "mysql": "SHOW DATABASES"}[database]
        with connections[database].cursor() as cursor:
            cursor.execute(query)
            assert not {name for (name,) in cursor.fetchall()} & set(names)


def database_names(output: str) -> list[str]:
    return re.findall(r"in the database (test_\w+)", output)


@pytest.mark.parametrize("database", [*on("postgresql", "mysql"), *thorough(on("default"))])
def test_the_naive_version_oversells_and_the_safe_one_does_not(place: Place, url: str, leftovers: list[str]) -> None:
    ran = place.run("--database", url) if url else place.run()
    leftovers += database_names(ran.stdout)
    naive, safe = parts(ran.stdout)
    assert naive.sold > 1
    assert (safe.sold, safe.seats_left) == (1, 0)
    assert_explored(ran.stdout)
    assert (ran.returncode, ran.stderr) == (0, "")


def assert_explored(output: str) -> None:
    """That a demo explores both versions, and tells of the race."""
    _, _, explored = output.partition("in every order")
    assert re.search(r"^Naive: buy\(\) race, \d+ orders run$", explored, re.MULTILINE)
    assert re.search(r"^Safe: buy_safely\(\) no race, \d+ orders run: ", explored, re.MULTILINE)
    assert "show.save()" in explored
    assert "hint: " in explored


def test_without_a_server_it_tells_the_same(shown: str) -> None:
    naive, safe = parts(shown)
    assert naive.sold > 1
    assert (safe.sold, safe.seats_left) == (1, 0)
    assert_explored(shown)


def test_it_says_where_it_runs(shown: str) -> None:
    assert re.search(r"^SQLite \d+\.\d+.*, in a temporary folder$", shown, re.MULTILINE)


def test_every_call_has_a_row_with_what_it_returned(shown: str) -> None:
    naive, safe = parts(shown)
    assert len(naive.rows) == len(safe.rows) == 7
    assert naive.returned.count("True") == naive.sold
    assert safe.returned.count("True") == safe.sold
    assert len({row["pid"] for row in naive.rows + safe.rows}) == 14


def test_times_are_relative_to_the_first_start(shown: str) -> None:
    for part in parts(shown):
        assert min(float(row["started"]) for row in part.rows) == 0
        assert all(float(row["started"]) < float(row["ended"]) for row in part.rows)


def test_a_pipe_gets_no_escape_codes_and_no_blanks_at_the_ends_of_lines(shown: str) -> None:
    assert "\x1b" not in shown
    assert not re.findall(r"[ \t]+$", shown, re.MULTILINE)


def test_a_naive_version_that_is_lucky_goes_wrong_in_some_order_all_the_same(place: Place) -> None:
    ran = place.run(AIOCONCURRENT_START_METHOD="inline")  # one call after another
    assert ran.stdout.count("sold once, by luck") == 9
    assert "Naive: buy() race" in ran.stdout
    assert "had luck in 10 rounds, and not in every order" in ran.stdout
    assert ran.returncode == 0


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """A demo with many calls, on a stream that has no more than ASCII."""
    return make_place(tmp_path_factory.mktemp("crowded")).run("--calls", "24", PYTHONIOENCODING="ascii")


def test_many_calls_are_counted_and_not_all_shown(crowded: subprocess.CompletedProcess[str]) -> None:
    naive, _ = parts(crowded.stdout)
    assert len(naive.rows) == 20
    assert "and 4 more" in crowded.stdout


def test_a_stream_without_unicode_gets_ascii(crowded: subprocess.CompletedProcess[str]) -> None:
    assert crowded.returncode == 0
    assert crowded.stdout.isascii()


@pytest.mark.parametrize("database", on("default", "postgresql", "mysql"))
def test_an_interrupted_demo_leaves_nothing_behind(place: Place, url: str, leftovers: list[str]) -> None:
    arguments = ["--database", url] if url else []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
    with subprocess.Popen(
        [*DEMO, *arguments], cwd=place.directory, env=place.environment(), stdout=subprocess.PIPE, text=True
    ) as demo:
        signal.signal(signal.SIGINT, before)
        assert demo.stdout is not None
        leftovers += database_names(demo.stdout.readline() + demo.stdout.readline())
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=60)
    assert demo.returncode == 130


def test_the_wheel_has_all_that_the_demo_needs(installed: subprocess.CompletedProcess[str]) -> None:
    assert (installed.returncode, installed.stderr) == (0, "")


Refused = Callable[..., str]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Gives the command line these arguments, which it must refuse, in this process; returns what is said of them."""

    def refuse(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["aioconcurrent", *arguments])
        with pytest.raises(SystemExit, match=r"^2$"):
            main()
        return capsys.readouterr().err

    return refuse


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("oracle://ann:secret@db.example/", "not one that begins with 'oracle'"),
        ("ann:secret@db.example", "not one that begins with 'ann'"),
        ("nonsense", "and this has nothing before ://"),
        ("postgres:///shop", "this one names no host"),
        ("postgres://ann:secret@db.example:99999/", "Port out of range"),
        ("mysql://[ann:secret@db.example/", "Invalid IPv6 URL"),
    ],
)
def test_a_bad_url_is_refused_without_showing_its_password(refused: Refused, bad: str, said: str) -> None:
    told = refused("demo", "--database", bad)
    assert said in told
    assert "postgres://user:password@host:port/" in told
    assert "secret" not in told


@pytest.mark.parametrize("scheme", ["postgresql", "mariadb"])
def test_a_server_that_does_not_answer_is_named(place: Place, scheme: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        ran = place.run("--database", f"{scheme}://ann:secret@{address}/")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert re.match(rf"aioconcurrent demo: error: cannot connect to the \w+ server at {address}: ", ran.stderr)
    assert "Traceback" not in ran.stderr
    assert "secret" not in ran.stderr


@pytest.mark.parametrize(
    ("scheme", "modules", "package"),
    [("postgres", ["psycopg", "psycopg2"], "psycopg[binary]"), ("mysql", ["MySQLdb", "pymysql"], "mysqlclient")],
)
def test_a_missing_driver_is_named(place: Place, scheme: str, modules: list[str], package: str) -> None:
    hide = f"import runpy, sys; sys.modules.update(dict.fromkeys({modules}))"
    run = "runpy.run_module('aioconcurrent', run_name='__main__', alter_sys=True)"
    ran = place.run("--database", f"{scheme}://127.0.0.1/", program=[sys.executable, "-c", f"{hide}; {run}", "demo"])
    assert ran.returncode == 1
    assert f'python -m pip install "{package}"' in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("calls", ["1", "0", "-3", "many"])
def test_a_race_of_fewer_than_two_is_refused(refused: Refused, calls: str) -> None:
    assert "needs at least 2 calls" in refused("demo", "--calls", calls)


def test_it_tells_its_version(place: Place) -> None:
    assert place.run("--version", program=DEMO[:-1]).stdout == f"aioconcurrent {version('aioconcurrent')}\n"


def test_without_a_command_it_says_what_there_is(refused: Refused) -> None:
    assert "COMMAND" in refused()
