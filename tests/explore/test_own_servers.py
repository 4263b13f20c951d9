"""Workers of dask whose machines have database servers of their own get a dump, and come to what one comes to."""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.db import connections
from pytest_django import DjangoDbBlocker

from aioconcurrent import ClusterError, options
from aioconcurrent.databases import dumps
from aioconcurrent.databases.dumps import Dump, DumpError, Load, Source, room
from aioconcurrent.running.cluster.addresses import UnreadError, addresses, addresses_here, differences
from tests.project.databases import on, thorough
from tests.second_servers import SECOND, SecondServer, environment

from .catalogue import accounts
from .clusters import FAULTS, Cluster, cluster
from .test_cluster import LONG, MADE_FIRST, explored, wait_here, when_asked
from .test_workers import PROGRAMS, copies_of, told

SERVERS: list[Any] = on("postgresql", "mysql")
POSTGRESQL, MYSQL = SERVERS
OTHERS = [name for name in PROGRAMS if name != LONG]

OPENED = 5  # what a worker is asked at most before a run: it is told what to do, and sent two dumps of two pieces

Second = dict[str, SecondServer]


@pytest.fixture(scope="session")
def second(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Second]:
    """The second servers, by the aliases of the databases on the first ones."""
    with ExitStack() as stack:
        with django_db_blocker.unblock():
            running = [stack.enter_context(run()) for run in SECOND.values()]
        yield {each.alias: each for each in running if each is not None}


@pytest.fixture
def server(second: Second, database: str) -> SecondServer:
    """The second server for the database of the test."""
    if database not in second:
        missing = f"there are no programs to run a second server for {database!r}"
        (pytest.fail if os.environ.get("AIOCONCURRENT_TEST_REQUIRE_SERVERS") else pytest.skip)(missing)
    return second[database]


@pytest.fixture
def role(server: SecondServer) -> Iterator[str]:
    """A user of the second server, who may do all as the test's may."""
    name = f"second_{os.getpid()}"
    server.ask(f"CREATE ROLE {name} LOGIN SUPERUSER")
    yield name
    server.ask(f"DROP ROLE {name}")


@pytest.fixture(scope="module")
def lasting(second: Second, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of one worker, which has servers of its own; no test of this module harms it."""
    with cluster(tmp_path_factory.mktemp("dask"), [environment([*second.values()])]) as found:
        yield found


@pytest.fixture
def fragile(second: Second, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster for a test that harms it, of such a worker and one that has no servers."""
    with cluster(tmp_path, [environment([*second.values()]), {}]) as found:
        yield found


@pytest.mark.usefixtures("all_ready")
@pytest.mark.parametrize(
    ("name", "database"),
    [
        pytest.param(LONG, *POSTGRESQL.values, marks=POSTGRESQL.marks),
        # the keeper that is killed, below, is that of a worker with MariaDB
        *thorough([pytest.param(LONG, *MYSQL.values, marks=MYSQL.marks)]),
        *thorough(pytest.param(name, *each.values, marks=each.marks) for name in OTHERS for each in SERVERS),
    ],
)
def test_a_worker_with_a_server_of_its_own_comes_to_what_one_comes_to(
    lasting: Cluster,
    server: SecondServer,
    monkeypatch: pytest.MonkeyPatch,
    asked: list[str],
    name: str,
    database: str,
) -> None:
    PROGRAMS[name].rows(database)
    assert explored(name, database).verdict  # the first one of a process may make a run more, for what it imports late
    alone = explored(name, database)
    kept: list[str] = []
    when_asked(monkeypatch, OPENED + 1, lambda: kept.extend(server.copies()))
    if name == LONG:
        wait_here(monkeypatch, until=lambda: len(asked) > OPENED + MADE_FIRST)
    with options(workers=lasting.address):
        together = explored(name, database)
    assert told(together) == told(alone)
    assert not together.notes
    assert len(kept) == 1
    assert copies_of(database) == server.copies() == []
    assert lasting.wait_until_left_alone() == []


@pytest.mark.parametrize("database", on("postgresql"))
def test_where_the_user_may_not_make_databases_an_error_says_so(
    server: SecondServer, role: str, tmp_path: Path, database: str
) -> None:
    accounts(database)
    server.ask(f"ALTER ROLE {role} NOSUPERUSER")
    humble = {name: re.sub("//[^/:@]*", f"//{role}", url, count=1) for name, url in server.environment.items()}
    with (
        cluster(tmp_path, [humble]) as it,
        options(workers=it.address),
        pytest.raises(ClusterError, match=r"worker tcp://.* its server does not make a database: permission"),
    ):
        explored("lost update", database)
    assert copies_of(database) == []
    assert it.wait_until_left_alone() == []


@pytest.mark.parametrize("database", on("postgresql"))
def test_where_no_dump_can_be_made_an_error_says_so(
    lasting: Cluster, server: SecondServer, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    accounts(database)
    monkeypatch.setenv("PATH", "/nowhere")
    with options(workers=lasting.address), pytest.raises(ClusterError) as raised:
        explored("lost update", database)
    assert "worker tcp://" in str(raised.value)
    assert "pg_dump is not installed on the machine of the test, or not on the PATH" in str(raised.value)
    assert copies_of(database) == server.copies() == []
    assert lasting.wait_until_left_alone() == []


def _kill(found: Cluster, name: str) -> None:
    """Kill the process of this name of the worker that has servers of its own."""
    inside = {each.pid for each in psutil.Process(found.workers[0].pid).children(recursive=True)}
    for process in found.processes(name):
        if process.pid in inside:
            process.kill()


@pytest.mark.usefixtures("all_ready")
@pytest.mark.parametrize(
    ("killed", "database"),
    [
        pytest.param(killed, *each.values, marks=each.marks)
        for killed, each in (("process", POSTGRESQL), ("keeper", MYSQL))
    ],
)
def test_a_process_that_is_killed_while_it_loads_costs_its_runs_only(
    fragile: Cluster, server: SecondServer, monkeypatch: pytest.MonkeyPatch, killed: str, database: str
) -> None:
    accounts(database)
    alone = explored("lost update", database)
    read, there = Dump.read, list[str]()

    def read_and_kill(self: Dump) -> bytes:
        piece = read(self)
        if not piece and not there:
            there.extend(server.copies())  # none, as long as it is that of another database
            if there:
                _kill(fragile, killed)
        return piece

    monkeypatch.setattr(Dump, "read", read_and_kill)
    with options(workers=fragile.address):
        together = explored("lost update", database)
    assert there
    assert told(together) == told(alone)
    assert any("no runs were made on tcp://" in note for note in together.notes)
    assert copies_of(database) == []
    assert fragile.wait_until_left_alone() == []
    if killed == "process":  # what is left by a killed keeper is for the next one
        assert server.copies() == []


@pytest.mark.usefixtures("all_ready")
@pytest.mark.parametrize(
    ("fault", "database"),
    thorough(  # each time it happens to a cluster whose workers share the servers, and while a dump is loaded
        [
            pytest.param("the scheduler is gone", *POSTGRESQL.values, marks=POSTGRESQL.marks),
            *(
                pytest.param(fault, *each.values, marks=each.marks)
                for number, fault in enumerate(FAULTS)
                for each in SERVERS[number % 2 :][:1]
            ),
        ]
    ),
)
def test_whatever_happens_to_a_worker_with_a_server_of_its_own_nothing_is_left(
    fragile: Cluster, server: SecondServer, monkeypatch: pytest.MonkeyPatch, fault: str, database: str
) -> None:
    PROGRAMS[LONG].rows(database)
    alone = explored(LONG, database)
    there: list[str] = []

    def happen() -> None:
        there.extend(server.copies())
        FAULTS[fault](fragile, database)

    happened = when_asked(monkeypatch, OPENED + MADE_FIRST, happen)
    wait_here(monkeypatch, until=lambda: happened)
    with options(workers=fragile.address):
        together = explored(LONG, database)
    assert (together.verdict, together.schedules_run) == (alone.verdict, alone.schedules_run)
    assert there
    fragile.thaw()
    assert fragile.wait_until_left_alone() == []
    assert copies_of(database) == server.copies() == []


# What follows makes, loads and drops dumps in this process.


@pytest.fixture
def source(database: str) -> Source:
    """The database of the test, in place of a copy of it."""
    return dumps._source(database, connections[database].settings_dict)


def _load(source: Source, settings: Any) -> None:
    dump, load = Dump(source), Load(source, settings)
    with closing(dump), closing(load):
        while piece := dump.read():
            load.write(piece)
        load.finish()


WITH_EVERYTHING = {
    "postgresql": [
        "SELECT setval(pg_get_serial_sequence('shop_account', 'id'), 10)",
        "CREATE SEQUENCE spare",
        "SELECT setval('spare', 41)",
        "CREATE VIEW rich AS SELECT * FROM shop_account WHERE balance > 50",
        """
        CREATE FUNCTION doubled() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.balance := NEW.balance * 2; RETURN NEW; END $$
        """,
        "CREATE TRIGGER doubling BEFORE INSERT ON shop_account FOR EACH ROW EXECUTE FUNCTION doubled()",
    ],
    "mysql": [
        "CREATE VIEW rich AS SELECT * FROM shop_account WHERE balance > 50",
        "CREATE TRIGGER doubling BEFORE INSERT ON shop_account FOR EACH ROW SET NEW.balance = NEW.balance * 2",
    ],
}
AWAY = {
    "postgresql": ["DROP VIEW rich", "DROP FUNCTION doubled CASCADE", "DROP SEQUENCE spare"],
    "mysql": ["DROP VIEW rich", "DROP TRIGGER doubling"],
}


@pytest.fixture
def everything(database: str) -> Iterator[None]:
    """A view, a trigger, a counter of keys that is ahead of the rows, and where there are any, a sequence."""
    accounts(database)
    with connections[database].cursor() as cursor:
        for statement in WITH_EVERYTHING[database]:
            cursor.execute(statement)
        cursor.execute("INSERT INTO shop_account (owner, balance) VALUES ('a', 1), ('b', 2)")
        cursor.execute("DELETE FROM shop_account WHERE balance = 4")
        cursor.execute(f"ANALYZE{'' if database == 'postgresql' else ' TABLE'} shop_account")
        yield
        for statement in AWAY[database]:
            cursor.execute(statement)


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("database", SERVERS)
def test_rows_counters_views_and_triggers_come_along(source: Source, server: SecondServer, database: str) -> None:
    with connections[database].cursor() as cursor:
        cursor.execute("SELECT id FROM shop_account ORDER BY id")
        ids = [row[0] for row in cursor.fetchall()]
    with room(source, server.settings) as made:
        _load(source, made)
        name = str(made["NAME"])
        assert server.copies() == [name]
        assert server.ask("SELECT id FROM shop_account ORDER BY id", name=name) == ids
        assert server.ask("SELECT balance FROM rich ORDER BY id", name=name) == [100, 200, 300]
        server.ask("INSERT INTO shop_account (owner, balance) VALUES ('c', 40)", name=name)
        assert server.ask("SELECT id FROM rich WHERE balance = 80", name=name) == [ids[-1] + 2]
        if database == "postgresql":
            assert server.ask("SELECT nextval('spare')", name=name) == [42]
            analyzed = "SELECT attname FROM pg_stats WHERE tablename = 'shop_account' ORDER BY 1"
            assert server.ask(analyzed, name=name) == ["balance", "id", "owner"]
    assert server.copies() == []


@pytest.mark.parametrize("database", SERVERS)
def test_a_server_of_another_version_or_with_other_settings_is_an_error(
    source: Source, server: SecondServer, database: str
) -> None:
    with pytest.raises(DumpError, match=r"its server is \w+ [\d.]+, and the test's Old 1"):
        _in_room(replace(source, version="Old 1"), server)
    name = next(iter(source.traits))
    with pytest.raises(DumpError, match=f"{name} is .* there, and 'another' here"):
        _in_room(replace(source, traits={**source.traits, name: "another"}), server)
    assert server.copies() == []


@pytest.mark.parametrize("database", on("postgresql"))
def test_another_version_of_an_extension_is_an_error(source: Source, server: SecondServer, database: str) -> None:
    newer = replace(source, extensions=[("plpgsql", "99.0")])
    unlike = r"plpgsql is '1.0' there, and '99.0' here"
    with room(source, server.settings) as made, pytest.raises(DumpError, match=unlike):
        _load(newer, made)


@pytest.mark.parametrize("database", on("postgresql"))
def test_a_user_of_another_name_owns_all_unless_there_are_more_owners(
    source: Source, server: SecondServer, role: str, database: str
) -> None:
    settings = {**server.settings, "USER": role}
    with room(source, settings) as made:
        _load(source, made)
        owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
        assert server.ask(owners, name=str(made["NAME"])) == [role]
    with (
        pytest.raises(DumpError, match="more than one owner: somebody"),
        room(replace(source, owners=["somebody"]), settings),
    ):
        pass
    assert server.copies() == []


def _in_room(source: Source, server: SecondServer) -> None:
    with room(source, server.settings):
        pass


@pytest.mark.parametrize("database", SERVERS)
def test_what_a_program_says_is_told_where_it_fails(source: Source, server: SecondServer, database: str) -> None:
    with room(source, server.settings) as made, closing(Load(source, made)) as load:
        load.write(b"SELECT nonsense;")
        with pytest.raises(
            DumpError, match=r" has failed: .*(Unknown column 'nonsense'|not appear to be a valid archive)"
        ):
            load.finish()
    gone = replace(source, settings={**source.settings, "NAME": "test_there_is_none"})
    with closing(Dump(gone)) as dump, pytest.raises(DumpError, match=r" has failed: .*test_there_is_none"):
        list(iter(dump.read, b""))
    assert server.copies() == []


@pytest.mark.parametrize("database", SERVERS)
def test_where_there_is_no_program_to_load_a_dump_an_error_says_so(
    source: Source, server: SecondServer, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with room(source, server.settings) as made, pytest.raises(DumpError, match="not installed on the worker's machine"):
        Load(source, made)


_KILLED = """
import os, pickle, signal, sys
import django
django.setup()
from aioconcurrent.databases.dumps import room
source, settings = pickle.loads(bytes.fromhex(sys.argv[1]))
with room(source, settings):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("database", SERVERS)
def test_the_next_one_drops_what_a_killed_process_has_left_and_nothing_that_is_in_use(
    source: Source, server: SecondServer, database: str
) -> None:
    with room(source, server.settings) as used:
        pickled = pickle.dumps((source, server.settings)).hex()
        killed = subprocess.run([sys.executable, "-c", _KILLED, pickled], check=False)
        assert killed.returncode == -signal.SIGKILL
        (left,) = set(server.copies()) - {used["NAME"]}
        with room(source, server.settings) as new:
            assert set(server.copies()) == {used["NAME"], new["NAME"]}
            assert left != new["NAME"]
    assert server.copies() == []


SETTINGS = """
import os
import sys
print("it is", os.environ["DB_HOST"], sys.argv)
OPTIONS = {"sslmode": os.environ.get("DB_TLS", "prefer"), "isolation_level": 3}
DATABASES = {"default": {"HOST": os.environ["DB_HOST"], "NAME": "shop", "OPTIONS": OPTIONS}}
"""


def test_what_the_settings_of_a_machine_say_otherwise_holds_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_settings.py").write_text(SETTINGS)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UnreadError, match="KeyError: 'DB_HOST'"):
        addresses("own_settings", {}, [])
    assert addresses_here("own_settings") == {}
    monkeypatch.setenv("DB_HOST", "here")
    here = addresses_here("own_settings")["default"]
    settings = {"HOST": "changed", "OPTIONS": {"sslmode": "prefer", "isolation_level": 3}}
    assert differences(here, here, settings) == {}
    monkeypatch.setenv("DB_HOST", "there")
    assert differences(addresses_here("own_settings")["default"], here, settings) == {"HOST": "there"}
    monkeypatch.setenv("DB_TLS", "require")
    assert differences(addresses_here("own_settings")["default"], here, settings) == {
        "HOST": "there",
        "OPTIONS": {"sslmode": "require", "isolation_level": 3},
    }
