import contextlib
import os
import pickle
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connections

from aioconcurrent import ProbeNotPermittedError, step
from aioconcurrent.databases.guard import session_id
from aioconcurrent.databases.probes import Probe, open_probe, waiting_for_rows
from aioconcurrent.databases.sessions import connect_directly
from tests.databases.conftest import run
from tests.databases.stepping import stepped
from tests.project.databases import on
from tests.project.ledger.models import Currency
from tests.project.shop.models import Counter

on_servers = pytest.mark.parametrize("database", on("postgresql", "mysql"))
on_postgresql = pytest.mark.parametrize("database", on("postgresql"))
on_mysql = pytest.mark.parametrize("database", on("mysql"))

PATIENCE = 10.0  # seconds


class Session:
    """A connection with a transaction open, whose statements another thread may run."""

    def __init__(self, alias: str) -> None:
        connection = connect_directly(alias)
        self.id = session_id(connection) or 0
        self._driver = connection.connection
        self._cursor = self._driver.cursor()
        self.error: Exception | None = None
        self.do("BEGIN")

    def do(self, *statements: str) -> None:
        for statement in statements:
            self._cursor.execute(statement)

    @contextlib.contextmanager
    def doing(self, statement: str) -> Iterator[None]:
        """Run a statement in another thread; what is in the block must end it."""

        def work() -> None:
            try:
                self.do(statement)
            except Exception as error:
                self.error = error

        thread = threading.Thread(target=work)
        thread.start()
        yield
        thread.join(PATIENCE)
        assert not thread.is_alive()

    def close(self) -> None:
        with contextlib.suppress(Exception):  # it was closed
            self._driver.close()


@pytest.fixture
def probe(database: str) -> Iterator[Probe]:
    found = open_probe(database)
    assert found is not None
    with contextlib.closing(found):
        yield found


@pytest.fixture
def pair(database: str) -> Iterator[tuple[Session, Session]]:
    Counter.objects.using(database).create(pk=1, name="a")
    Counter.objects.using(database).create(pk=2, name="b")
    Currency.objects.using(database).create(code="EUR", rate=1)
    with contextlib.closing(Session(database)) as one, contextlib.closing(Session(database)) as other:
        yield one, other


def seen(look: Callable[[], Any]) -> Any:
    """What `look` finds, as soon as it finds something."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := look():
            return found
    raise AssertionError("nothing was seen")


UPDATE = "UPDATE shop_counter SET value = 5 WHERE id = 1"
CURRENCY = "INSERT INTO ledger_currency (code, rate) VALUES ('USD', 1)"
ENTRY = (
    "INSERT INTO ledger_entry (currency_id, number, details, receipt, weight, is_open)"
    " VALUES ('EUR', 1, '{}', '', 0, true)"
)
WAITS = {
    "row": ((UPDATE,), UPDATE),
    "row-for-update": ((UPDATE,), "SELECT * FROM shop_counter WHERE id = 1 FOR UPDATE"),
    "unique-insert": ((CURRENCY,), CURRENCY),
    "foreign-key": (("DELETE FROM ledger_currency WHERE code = 'EUR'",), ENTRY),
    "table": ((UPDATE,), "ALTER TABLE shop_counter ADD seen integer"),
}


@on_servers
@pytest.mark.parametrize(("held", "wanted"), WAITS.values(), ids=WAITS)
def test_a_wait_for_a_lock_is_seen_until_it_ends(
    probe: Probe, pair: tuple[Session, Session], database: str, held: tuple[str, ...], wanted: str
) -> None:
    one, other = pair
    if connections[database].vendor == "postgresql":
        other.do("SET CONSTRAINTS ALL IMMEDIATE")  # Django's foreign keys wait at COMMIT
    one.do(*held)
    both = (one.id, other.id)
    assert probe.waiting(both) == {}
    with other.doing(wanted):
        assert seen(lambda: probe.waiting(both)).keys() == {other.id}
        assert probe.waiting([one.id]) == {}
        one.do("ROLLBACK")
        seen(lambda: probe.waiting(both) == {})
    other.do("ROLLBACK")
    if "ALTER" in wanted and connections[database].vendor == "mysql":
        run(database, "ALTER TABLE shop_counter DROP seen")  # it committed by itself
    assert other.error is None


@on_servers
def test_whose_the_lock_is_is_seen(probe: Probe, pair: tuple[Session, Session]) -> None:
    one, other = pair
    one.do(UPDATE)
    with other.doing(UPDATE):
        assert seen(lambda: any((waits := probe.waiting([other.id])).values()) and waits) == {other.id: {one.id}}
        one.do("ROLLBACK")


LOCKS = {
    "postgresql": ("SELECT pg_advisory_lock(42)", "SELECT pg_advisory_unlock(42)"),
    "mysql": ("SELECT GET_LOCK('it''s', 10)", "SELECT RELEASE_LOCK('it''s')"),
}


@on_servers
def test_a_wait_for_an_advisory_lock_is_seen_with_its_owner(
    probe: Probe, pair: tuple[Session, Session], database: str
) -> None:
    one, other = pair
    lock, unlock = LOCKS[connections[database].vendor]
    one.do(lock)
    with other.doing(lock):
        assert seen(lambda: probe.waiting([other.id])) == {other.id: {one.id}}
        one.do(unlock)
        assert probe.waiting([one.id, other.id]) == {}  # at once


@on_servers
def test_a_wait_is_over_as_soon_as_the_commit_has_returned(probe: Probe, pair: tuple[Session, Session]) -> None:
    one, other = pair
    for _ in range(20):
        one.do("BEGIN", UPDATE)
        with other.doing(UPDATE):
            seen(lambda: probe.waiting([other.id]))
            one.do("COMMIT")
            assert probe.waiting([other.id]) == {}
        other.do("COMMIT", "BEGIN")


@on_servers
def test_a_statement_that_takes_its_time_does_not_wait(
    probe: Probe, pair: tuple[Session, Session], database: str
) -> None:
    _, other = pair
    vendor = connections[database].vendor
    sleep, running = {
        "postgresql": ("SELECT pg_sleep(30)", "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"),
        "mysql": ("SELECT SLEEP(30)", "SELECT 1 FROM information_schema.processlist WHERE state = 'User sleep'"),
    }[vendor]
    with other.doing(sleep):
        with connections[database].cursor() as cursor:
            seen(lambda: (cursor.execute(running), cursor.fetchall())[1])
        assert probe.waiting([other.id]) == {}
        probe.cancel(other.id)


@on_servers
def test_a_cancelled_statement_fails_and_its_session_goes_on(probe: Probe, pair: tuple[Session, Session]) -> None:
    one, other = pair
    one.do(UPDATE)
    with other.doing(UPDATE):
        seen(lambda: probe.waiting([other.id]))
        probe.cancel(other.id)
    assert other.error is not None
    other.do("ROLLBACK", "SELECT 1")


@on_servers
def test_an_outsider_is_described(probe: Probe, pair: tuple[Session, Session], database: str) -> None:
    one, _ = pair
    one.do(UPDATE)
    text = probe.describe(one.id)
    assert text.startswith(f"session {one.id} of ")
    assert re.search(r"a transaction open for \d+\.\d s", text)
    if connections[database].vendor == "postgresql":
        assert "idle in transaction, " in text
        assert text.endswith(f"; its statement: {UPDATE}")
    one.close()
    seen(lambda: probe.describe(one.id) == f"session {one.id}, which has ended")


@on_postgresql
def test_a_cycle_of_waits_is_seen_from_both_ends(probe: Probe, pair: tuple[Session, Session]) -> None:
    one, other = pair
    one.do(UPDATE)
    other.do("UPDATE shop_counter SET value = 5 WHERE id = 2")
    with one.doing("UPDATE shop_counter SET value = 6 WHERE id = 2"):
        seen(lambda: probe.waiting([one.id]))
        with other.doing(UPDATE):
            both = (one.id, other.id)
            assert seen(lambda: len(waits := probe.waiting(both)) == 2 and waits) == {
                one.id: {other.id},
                other.id: {one.id},
            }
            probe.cancel(other.id)
        other.do("ROLLBACK")


@on_mysql
def test_without_the_right_the_error_says_which_to_grant(database: str) -> None:
    plain = f"aioconcurrent_{os.getpid()}"
    name = connections[database].settings_dict["NAME"]
    run(database, f"CREATE USER '{plain}'@'%'", f"GRANT ALL ON `{name}`.* TO '{plain}'@'%'")
    settings = {**connections[database].settings_dict, "USER": plain, "PASSWORD": ""}
    try:
        with pytest.raises(ProbeNotPermittedError, match=f"GRANT PROCESS ON .* TO '{plain}'@'%';") as caught:
            open_probe(database, settings)
    finally:
        run(database, f"DROP USER '{plain}'@'%'")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("database", on("file"))
def test_sqlite_needs_no_probe(database: str) -> None:
    assert open_probe(database) is None


def test_what_a_statement_says_is_not_taken_for_innodbs_words() -> None:
    status = """LIST OF TRANSACTIONS FOR EACH SESSION:
---TRANSACTION (0x7f49f41c3180), not started
0 lock struct(s), heap size 1128, 0 row lock(s)
---TRANSACTION 9147, ACTIVE 1 sec starting index read
mysql tables in use 1, locked 1
LOCK WAIT 2 lock struct(s), heap size 1128, 1 row lock(s)
MariaDB thread id 8, OS thread handle 139955538482880, query id 56950 127.0.0.1 root Updating
update t set v=3
---TRANSACTION 9146, ACTIVE 1 sec
2 lock struct(s), heap size 1128, 2 row lock(s), undo log entries 1
MariaDB thread id 9, OS thread handle 139955539404480, query id 56949 127.0.0.1 root
select '
LOCK WAIT
'
"""
    assert waiting_for_rows(status) == {8}


def take_a_seat(using: str) -> None:
    """Hold a lock, of which nothing that is asked for says anything, from one statement in autocommit to another."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT take_seat()")
        step("seated")
        cursor.execute("SELECT leave_seat()")


@on_postgresql
def test_a_wait_for_a_lock_of_which_no_statement_tells_is_seen(database: str) -> None:
    for name, function in (("take", "pg_advisory_lock"), ("leave", "pg_advisory_unlock")):
        run(database, f"CREATE FUNCTION {name}_seat() RETURNS void LANGUAGE sql AS 'SELECT {function}(42)'")
    try:
        call = (take_a_seat, {"using": database})
        result = stepped(call, call, order=[0, 0, 1], database=database)
    finally:
        run(database, "DROP FUNCTION take_seat(), leave_seat()")
    assert result.outcomes == [None, None]
    (waited,) = [each for each in result.steps if each.waited_for]
    assert (waited.call, waited.operation.text, waited.waited_for) == (1, "SELECT take_seat()", frozenset({0}))
