"""Which locks safe calls need: one is taken away at a time, and the calls are explored without it."""

from __future__ import annotations

import json
import re
from typing import Any, cast

import pytest
from django.db import IntegrityError, connections, transaction
from django.db.models import F

import aioconcurrent
from aioconcurrent.base.trace import LockSite
from aioconcurrent.databases.changed_locks import _unlocked
from aioconcurrent.results.exploration import Exploration
from aioconcurrent.running.measures import came_of
from aioconcurrent.sync import explore, replay
from tests.project.databases import ThreadOfQueries, on, thorough
from tests.project.shop.models import Account, Voucher


def withdraw(using: str, amount: int) -> bool:
    with transaction.atomic(using):
        account = Account.objects.using(using).select_for_update().get(pk=11)
        if account.balance < amount:
            return False
        Account.objects.using(using).select_for_update().filter(pk=11).first()
        account.balance -= amount
        account.save(using=using)
        return True


def deposit(using: str, amount: int) -> None:
    @transaction.atomic(using)
    def add() -> None:
        Account.objects.using(using).filter(pk=11).update(balance=F("balance") + amount)

    add()


async def adeposit(using: str, amount: int) -> None:
    await Account.objects.using(using).filter(pk=11).aupdate(balance=F("balance") + amount)


def take_first(using: str, amount: int) -> bool:
    """Either of the blocks would be enough."""
    with transaction.atomic(using):
        rows = Account.objects.using(using).filter(pk=11)
        with transaction.atomic(using):
            rows.update(balance=F("balance") - amount)
            if rows.get().balance < 0:
                rows.update(balance=F("balance") + amount)
                return False
    return True


def issue(using: str) -> bool:
    try:
        Voucher.objects.using(using).create(code="x")
    except IntegrityError:
        return False
    return True


def race(using: str) -> None:
    account = Account.objects.using(using).get(pk=11)
    account.balance += 1
    account.save(using=using)


@pytest.mark.parametrize("database", [*on("postgresql"), *thorough(on("mysql"))])
def test_one_lock_is_needed_and_what_stands_below_it_is_not(database: str) -> None:
    Account.objects.using(database).create(pk=11, balance=100)
    locks = explore(*[(withdraw, {"using": database, "amount": 80})] * 2).locks()
    block, first, second = locks[:3]
    assert [each.needed for each in (block, first, second)] == [True, True, False]
    assert str(block).partition(" at ")[0] == "atomic"
    assert re.fullmatch(r"FOR UPDATE at test_locks\.py:\d+: needed, without it: lost update", str(first))
    assert re.fullmatch(r"FOR UPDATE at test_locks\.py:\d+: not needed", str(second))
    assert first.counterexample
    assert first.counterexample.anomaly == "lost update"
    assert json.loads(locks.to_json())["locks"][1] == {"name": first.name, "needed": True, "without": "lost update"}
    assert len(locks) == 3
    assert Account.objects.using(database).get().balance == 100


WRITTEN = {
    "with a semicolon": "SELECT balance FROM shop_account WHERE id = 11 FOR UPDATE;",
    "in a part": "WITH own AS (SELECT * FROM shop_account WHERE id = 11 FOR NO KEY UPDATE) SELECT balance FROM own",
}


def add_one(using: str, text: str) -> None:
    with transaction.atomic(using):
        with connections[using].cursor() as cursor:
            cursor.execute(text)
            [balance] = cursor.fetchone()
        Account.objects.using(using).filter(pk=11).update(balance=balance + 1)


@pytest.mark.parametrize(
    "written", [pytest.param("in a part"), *thorough([pytest.param("with a semicolon", id="with a semicolon")])]
)
@pytest.mark.parametrize("database", on("postgresql"))
def test_a_lock_in_a_text_of_the_application_s_own_is_found_wherever_it_stands(database: str, written: str) -> None:
    Account.objects.using(database).create(pk=11, balance=100)
    _, lock = explore(*[(add_one, {"using": database, "text": WRITTEN[written]})] * 2).locks()
    assert re.fullmatch(r"FOR UPDATE at test_locks\.py:\d+: needed, without it: lost update", str(lock))


@pytest.mark.parametrize(
    ("text", "without"),
    [
        ("SELECT 'x FOR UPDATE; y' FROM t FOR UPDATE", "SELECT 'x FOR UPDATE; y' FROM t"),
        ('SELECT 1 FROM t FOR UPDATE OF "t" SKIP LOCKED;', "SELECT 1 FROM t;"),
        ("(SELECT 1 FROM t FOR UPDATE) -- one", "(SELECT 1 FROM t) -- one"),
        ("SELECT 1 FROM t FOR UPDATE -- one", "SELECT 1 FROM t -- one"),
        ("SELECT 1 FROM t WHERE a = '; FOR UPDATE'", "SELECT 1 FROM t WHERE a = '; FOR UPDATE'"),
        ("SELECT 1 FROM (SELECT 2 FROM t FOR SHARE) s FOR UPDATE", "SELECT 1 FROM (SELECT 2 FROM t) s"),
    ],
)
def test_a_lock_is_taken_out_of_a_text_and_nothing_else(text: str, without: str) -> None:
    class All:
        def __contains__(self, _: object) -> bool:
            return True

    assert _unlocked(cast("Any", All()), text) == without
    assert _unlocked((), text) == text


def test_why_a_lock_is_left_open_stands_on_one_line() -> None:
    nothing = Exploration("inconclusive", "it raises\n  DETAIL: so", exhaustive=False, schedules_run=1, calls=())
    lock = came_of([LockSite("atomic", "")], nothing, nothing)
    assert str(lock) == "atomic: left open: it raises DETAIL: so"


@pytest.mark.parametrize("database", on("default"))
def test_a_block_that_decorates_is_told_by_its_line_and_is_not_needed_around_one_statement(database: str) -> None:
    Account.objects.using(database).create(pk=11, balance=100)
    [block] = explore(*[(deposit, {"using": database, "amount": 80})] * 2).locks()
    line = deposit.__code__.co_firstlineno + 1
    assert str(block) == f"atomic at test_locks.py:{line}: not needed"


@pytest.mark.parametrize("database", on("default"))
async def test_a_coroutine_awaits_them(database: str, in_thread: ThreadOfQueries, anyio_backend_name: str) -> None:
    await in_thread(Account.objects.using(database).create, pk=11, balance=100)
    function = deposit if anyio_backend_name == "trio" else adeposit  # Django has no async ORM on trio
    found = await aioconcurrent.explore(*[(function, {"using": database, "amount": 80})] * 2)
    locks = await found.locks()
    assert [each.needed for each in locks] == [False] * len(locks)
    assert len(locks) == (function is deposit)


@pytest.mark.parametrize("database", on("default"))
def test_two_that_do_each_other_s_work_are_told_together(database: str) -> None:
    Account.objects.using(database).create(pk=11, balance=100)
    outer, inner, both = explore(*[(take_first, {"using": database, "amount": 80})] * 2).locks()
    assert (outer.needed, inner.needed, both.needed) == (False, False, True)
    assert both.name == f"{outer.name} and {inner.name}"


@pytest.mark.parametrize("database", [*on("default"), *thorough(on("mysql", "postgresql"))])
def test_a_constraint_that_has_refused_a_row_is_told_of_and_not_taken_away(database: str) -> None:
    [constraint] = explore(*[(issue, {"using": database})] * 2).locks()
    assert re.fullmatch(
        r"constraint \S*shop_voucher\S* at test_locks\.py:\d+: left open: it has refused a row; .*", str(constraint)
    )


@pytest.mark.parametrize("database", on("default"))
def test_locks_of_calls_that_are_not_safe_are_refused(database: str) -> None:
    Account.objects.using(database).create(pk=11, balance=100)
    found = explore(*[(race, {"using": database})] * 2)
    with pytest.raises(ValueError, match=r"locks\(\) is for calls that are safe, and these race \(lost update"):
        found.locks()
    assert found.counterexample
    again = replay(found.counterexample.token, *[(race, {"using": database})] * 2)
    with pytest.raises(ValueError, match="what explore"):
        again.locks()
