"""Several workers come to what one comes to, each on a copy of the database, and leave no copy."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from typing import Any

import anyio
import pytest
from django.core.cache import cache
from django.db import connections
from django.db.models import F

import aioconcurrent
from aioconcurrent import Exploration, options
from aioconcurrent.databases.copies import CopyError, copied
from aioconcurrent.databases.handoff import hand_over, look
from aioconcurrent.sync import explore
from tests.project import cached
from tests.project.databases import on, thorough
from tests.project.shop import races, unseen
from tests.project.shop.models import Account, Voucher

from .catalogue import CATALOGUE, Case, accounts, counters

EVERYWHERE: list[Any] = on("default", "file", "postgresql", "mysql")
# What one worker, four, and a cluster come to is the same.
PROGRAMS = {
    **{
        name: CATALOGUE[name]
        for name in (
            *("lost update", "lost update, fixed", "two preemptions, fixed", "three calls", "phantom"),
            *("get_or_create", "write skew", "check, then insert, unique"),
        )
    },
    "updates in turn": Case([(races.add_thrice, {})] * 2, counters),
}
COPIES = {
    "postgresql": "SELECT datname FROM pg_database WHERE datname LIKE %s",
    "mysql": "SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE %s",
}


def copies_of(database: str) -> list[str]:
    """The copies of a test database that there are."""
    connection = connections[database]
    name = str(connection.settings_dict["NAME"])
    if connection.vendor not in COPIES:
        return []  # in a temporary folder
    with connection.cursor() as cursor:
        cursor.execute(COPIES[connection.vendor], [f"{name}_aioconcurrent%"])
        return [found for (found,) in cursor.fetchall()]


def told(found: Exploration) -> tuple[Any, ...]:
    """What an exploration has come to, whoever made its runs."""
    example = found.counterexample
    steps = [(step.call, step.operation.text) for step in example.steps] if example else None
    return found.verdict, found.exhaustive, found.schedules_run, example and example.token, steps


@pytest.mark.parametrize(
    ("name", "database"),
    [pytest.param("lost update", *each.values, marks=each.marks) for each in EVERYWHERE]
    + thorough(
        pytest.param(name, *each.values, marks=each.marks) for name in list(PROGRAMS)[1:] for each in EVERYWHERE
    ),
)
def test_four_workers_come_to_what_one_comes_to(name: str, database: str) -> None:
    case = PROGRAMS[name]
    case.rows(database)
    before = list(Account.objects.using(database).values())
    assert explore(*case.calls_at(database)).verdict  # of a process the first may make a run more
    alone = explore(*case.calls_at(database))
    with options(workers=4):
        together = explore(*case.calls_at(database))
    assert connections[database].connection is not None, "the next exploration would not know that it is in use"
    assert told(together) == told(alone)
    assert not [note for note in together.notes if "one worker" in note]
    assert copies_of(database) == []
    assert list(Account.objects.using(database).values()) == before


@pytest.mark.parametrize("database", on("postgresql"))
def test_no_copy_is_left_by_an_exploration_that_is_cancelled(database: str) -> None:
    accounts(database)

    async def cancelled() -> None:
        with anyio.move_on_after(0.7), options(workers=2):
            await aioconcurrent.explore(*[(races.look_thrice, {"using": database})] * 4)

    anyio.run(cancelled)
    assert copies_of(database) == []


_KILLED = """
import os, signal
import django
django.setup()
from django.core.cache import cache
from django.db import connections
from django.db.models import F
from aioconcurrent.databases.copies import CopyError, copied
from aioconcurrent.databases.handoff import Handoff
import pickle, sys
handoff = pickle.loads(bytes.fromhex(sys.argv[1]))
with copied(handoff, {}, 3):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("database", on("postgresql", "mysql"))
def test_copies_of_a_process_that_was_killed_are_taken_away(database: str) -> None:
    accounts(database)
    view = look()
    handoff = hand_over([replace(view, opened={database: view.opened[database]})], {}, allow_real_databases=False)
    connections[database].close()
    killed = subprocess.run([sys.executable, "-c", _KILLED, pickle.dumps(handoff).hex()], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(copies_of(database)) == 3
    connections[database].close()
    with copied(handoff, {}, 1):
        assert len(copies_of(database)) == 1
        connections[database].close()
    assert copies_of(database) == []


@pytest.mark.django_db(transaction=True, databases="__all__")
@pytest.mark.parametrize("database", on("file", "postgresql"))
def test_a_database_that_the_test_has_not_used_is_copied_as_soon_as_the_calls_use_it(database: str) -> None:
    connections["default"].ensure_connection()
    connections[database].close()
    with options(workers=2):
        found = explore(*CATALOGUE["get_or_create"].calls_at(database))
    assert found.verdict == "race"
    assert not found.notes
    assert copies_of(database) == []


@pytest.mark.parametrize("database", on("postgresql"))
def test_where_a_copy_cannot_be_made_one_worker_does_all_and_says_why(database: str) -> None:
    accounts(database)
    other = connections[database].copy()
    other.connect()
    try:
        with options(workers=2):
            found = explore(*[(races.add, {"pk": 1, "amount": 1, "using": database})] * 2)
    finally:
        other.close()
    assert found.verdict == "race"
    assert any("one worker made all runs" in note and "accessed by other users" in note for note in found.notes)


@pytest.mark.parametrize("database", on("postgresql"))
def test_a_database_is_not_copied_where_its_copy_would_be_cut_to_its_own_name(database: str) -> None:
    """PostgreSQL cuts names after 63 bytes, and two of them make one such letter."""
    accounts(database)
    start = f"test_{os.getpid():010}"
    name = start + "ä" * ((63 - len(start)) // 2)
    view = look()
    settings = {database: {**view.settings[database], "NAME": name}}
    view = replace(view, settings=settings, opened={database: None})
    handoff = hand_over([view], {}, allow_real_databases=False).changed(settings, frozenset({name}))
    with connections[database].cursor() as cursor:
        cursor.execute(f'CREATE DATABASE "{name}"')
        try:
            with pytest.raises(CopyError, match="63 bytes"), copied(handoff, {}, 1):
                pass
        finally:
            cursor.execute(f'DROP DATABASE "{name}"')


@pytest.mark.django_db(transaction=True)
def test_calls_that_share_a_cache_are_run_by_one_worker(files: str) -> None:
    with options(workers=2):
        found = explore(*[(cached.add_one_atomically, ("k",), {})] * 2)
    assert (found.verdict, cache.get("k")) == ("race", None)
    assert any("one worker made all runs" in note and "a cache" in note for note in found.notes)


def add_and_look(using: str) -> None:
    """Add one, and touch another table where somebody has come between, without changing it."""
    accounts = Account.objects.using(using).filter(pk=1)
    before = accounts.get().balance
    accounts.update(balance=F("balance") + 1)
    if before + 1 != accounts.get().balance:
        Voucher.objects.using(using).update(code=F("code"))


@pytest.mark.parametrize("database", on("default"))
def test_a_table_that_runs_on_copies_alone_have_touched_is_known_as_it_was_at_the_start(database: str) -> None:
    accounts(database)
    Voucher.objects.using(database).create(code="x")
    with options(workers=4):
        found = explore(*[(add_and_look, {"using": database})] * 2)
    assert found.verdict == "no race", found


@pytest.mark.parametrize("database", on("postgresql"))
def test_a_copy_that_has_changed_unseen_is_no_proof_when_the_budget_ends(database: str) -> None:
    accounts(database)
    counters(database)
    call = unseen.change_copies, {"using": database, "original": connections[database].settings_dict["NAME"]}
    with options(workers=2):
        found = explore(call, call, max_schedules=20)
    assert (found.verdict, found.schedules_run) == ("inconclusive", 20), found
    assert "tables changed in some run" in found.reason
