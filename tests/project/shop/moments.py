"""Single statements in autocommit that read, and change what they found: on a server they are not one moment."""

from typing import Any

from django.db import DatabaseError, connections, transaction
from django.db.models import F

from tests.project.shop.models import Account, Counter, Coupon

# MySQL reads the table that it changes only by way of a copy.
_FIRST_FREE = "(SELECT id FROM (SELECT id FROM shop_account WHERE owner = '' ORDER BY id LIMIT 1) AS free)"
_ON_CALL = "(SELECT count(*) FROM (SELECT id FROM shop_doctor WHERE on_call) AS others)"
_NEXT = "(SELECT coalesce(max(balance), 0) + 1 FROM (SELECT balance FROM shop_account) AS others)"


def run(using: str, statement: str, *parameters: str | int) -> Any:
    """Give the rows of a statement, or how many it changed."""
    with connections[using].cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else cursor.rowcount


def claim(owner: str, using: str) -> Any:
    """Take the first account that nobody has: two may find the same one."""
    return run(using, f"UPDATE shop_account SET owner = %s WHERE id = {_FIRST_FREE}", owner)


def claim_if_free(owner: str, using: str) -> Any:
    """The safe twin: see again that nobody has it, once it is locked."""
    return run(using, f"UPDATE shop_account SET owner = %s WHERE owner = '' AND id = {_FIRST_FREE}", owner) and 1


def claim_in_transaction(owner: str, using: str) -> Any:
    with transaction.atomic(using):
        return claim(owner, using)


def assign(owner: str, pk: int, using: str) -> int:
    """Give an account to somebody, by its key."""
    return Account.objects.using(using).filter(pk=pk).update(owner=owner)


def insert_next(using: str) -> Any:
    return run(using, f"INSERT INTO shop_account (owner, balance) SELECT 'new', {_NEXT}")


def insert_if_missing(code: str, using: str) -> Any:
    return run(
        using,
        "INSERT INTO shop_coupon (code) SELECT %s FROM (SELECT 1 AS one) AS nothing "
        "WHERE NOT EXISTS (SELECT 1 FROM shop_coupon WHERE code = %s)",
        code,
        code,
    )


def insert_unless_taken(code: str, using: str) -> Any:
    """The safe twin: a unique key decides."""
    verb, tail = ("INSERT IGNORE", "") if connections[using].vendor == "mysql" else ("INSERT", "ON CONFLICT DO NOTHING")
    return run(using, f"{verb} INTO shop_voucher (code) SELECT %s FROM (SELECT 1 AS one) AS nothing {tail}", code)


def leave(pk: int, using: str) -> Any:
    """Go off call, unless nobody else is on."""
    return run(using, f"UPDATE shop_doctor SET on_call = false WHERE id = %s AND {_ON_CALL} > 1", pk)


def hit_all(using: str) -> int:
    return Account.objects.using(using).update(balance=F("balance") + 1)


def flag_tens(using: str) -> int:
    """PostgreSQL's manual has it: the row that is ten may be eleven when its lock is had, and the other one ten."""
    return Account.objects.using(using).filter(balance=10).update(owner="flagged")


def take_unlocked(using: str) -> list[int]:
    with transaction.atomic(using):
        free = Account.objects.using(using).order_by("pk").select_for_update(skip_locked=True)
        return list(free.values_list("pk", flat=True))


def add(pk: int, using: str) -> int:
    """Change one row, found by its key."""
    return Account.objects.using(using).filter(pk=pk).update(balance=F("balance") + 1)


def number_by_trigger(using: str) -> Any:
    """Insert a plain row, to which a trigger gives a number."""
    return run(using, "INSERT INTO shop_counter (name, value) VALUES ('new', 0)")


def number_by_function(using: str) -> Any:
    return run(using, "SELECT insert_numbered()")


def add_twice_in_one_text(using: str) -> Any:
    return run(using, "UPDATE shop_account SET balance = balance + 1; UPDATE shop_account SET balance = balance + 1")


def vacuum(using: str) -> None:
    Counter.objects.using(using).filter(name="old").update(value=F("value") + 1)
    run(using, "VACUUM shop_counter")


def call_procedure(using: str) -> None:
    run(using, "CALL add_twice()")


def add_to_many(using: str) -> None:
    with connections[using].cursor() as cursor:
        cursor.executemany("UPDATE shop_account SET balance = balance + 1 WHERE id = %s", [(1,), (2,)])


def all_that_shows(using: str) -> list[Any]:
    """What Django and the driver tell of statements that are split, of their errors, and of what is around them."""
    connection = connections[using]
    shown: list[Any] = []

    def attempt(statement: str, *parameters: str | int) -> None:
        with connection.cursor() as cursor:
            try:
                cursor.execute(statement, parameters or None)
            except DatabaseError as error:
                told: list[Any] = [type(error), type(error.__cause__), str(error).splitlines()[0]]
            else:
                rows = cursor.fetchall() if cursor.description else None
                told = [cursor.rowcount, bool(cursor.lastrowid) if connection.vendor == "mysql" else None, rows]
        state = connection.in_atomic_block, connection.get_autocommit(), connection.errors_occurred
        shown.append((statement, *told, *state, connection.needs_rollback))

    returning = " RETURNING owner, balance" if connection.vendor == "postgresql" else ""
    attempt("UPDATE shop_account SET balance = balance + 1" + returning)
    attempt("INSERT INTO shop_account (owner, balance) SELECT owner, balance FROM shop_account" + returning)
    attempt("INSERT INTO shop_voucher (code) SELECT owner FROM shop_account")
    attempt("INSERT INTO shop_ticket (show_id, buyer) SELECT 999, owner FROM shop_account")
    attempt("UPDATE shop_account SET balance = (SELECT no_such_column FROM shop_coupon)")
    if connection.vendor == "mysql":
        attempt("SELECT LAST_INSERT_ID() > 0")
    transaction.on_commit(lambda: shown.append("on_commit"), using=using)
    attempt("DELETE FROM shop_account WHERE balance > %s", 1)
    with transaction.atomic(using):
        with transaction.atomic(using):
            attempt("DELETE FROM shop_account WHERE balance < 100")
            transaction.set_rollback(True, using)
        attempt("UPDATE shop_account SET balance = balance + 1")
    connection.set_autocommit(False)
    attempt("UPDATE shop_account SET balance = balance + 1")
    connection.rollback()
    connection.set_autocommit(True)
    shown.append(list(Account.objects.using(using).order_by("owner", "balance").values_list("owner", "balance")))
    return shown


def take_and_note(pk: int, using: str) -> bool:
    """Change a row in a transaction, and insert one in autocommit: with RETURNING, SQLite commits at the last fetch."""
    with transaction.atomic(using):
        taken = Account.objects.using(using).filter(pk=pk, balance__gt=0).update(balance=0) > 0
    if taken:
        Coupon.objects.using(using).create(code="taken")
    return taken


def look_slowly(pk: int, using: str) -> None:
    with transaction.atomic(using):
        Account.objects.using(using).get(pk=pk)
        Account.objects.using(using).get(pk=pk)


def look_and_add(pk: int, using: str) -> None:
    """Begin to read, then write: SQLite refuses that at once to whoever meets a writer."""
    with transaction.atomic(using):
        Account.objects.using(using).get(pk=pk)
        add(pk, using)


def fetch_all_ways(using: str) -> list[Any]:
    """Read the rows that an INSERT gives, as cursors can be read."""
    insert = "INSERT INTO shop_coupon (code) VALUES ('a'), ('b'), ('c') RETURNING code"
    with connections[using].cursor() as cursor:
        cursor.execute(insert)
        shown = [cursor.fetchone(), cursor.fetchmany(1), cursor.fetchall(), cursor.fetchone(), cursor.rowcount]
        cursor.execute(insert)
        shown += [[column[0] for column in cursor.description], list(cursor), cursor.fetchmany()]
        cursor.execute("SELECT 1")
        shown.append(cursor.fetchall())
        cursor.executemany("INSERT INTO shop_coupon (code) VALUES (%s)", [("d",), ("e",)])
        shown.append(cursor.rowcount)
        cursor.execute("INSERT INTO shop_coupon (code) VALUES ('f')")
        shown.append([cursor.rowcount, cursor.fetchall(), cursor.lastrowid is not None])
    return shown


def add_up_locked(using: str, chunk: int = 1) -> int:
    """Lock rows as they are fetched, one by one."""
    with transaction.atomic(using):
        accounts = Account.objects.using(using).select_for_update().order_by("pk").iterator(chunk_size=chunk)
        return sum(account.balance for account in accounts)


def add_up(using: str, chunk: int = 1) -> int:
    with transaction.atomic(using):
        return sum(
            account.balance for account in Account.objects.using(using).order_by("pk").iterator(chunk_size=chunk)
        )


def move(using: str, source: int, target: int) -> None:
    """Take from an account, and give to another."""
    with transaction.atomic(using):
        Account.objects.using(using).filter(pk=source).update(balance=F("balance") - 1)
        Account.objects.using(using).filter(pk=target).update(balance=F("balance") + 1)


def lock_by_iterating(using: str) -> list[Any]:
    with transaction.atomic(using), connections[using].chunked_cursor() as cursor:
        cursor.execute("SELECT id FROM shop_account ORDER BY id FOR UPDATE")
        return list(cursor)


def sleep(using: str) -> None:
    """Take longer than an impatient database waits."""
    run(using, "SELECT pg_sleep(0.5)" if connections[using].vendor == "postgresql" else "SELECT sleep(1.5)")


def sleep_too_long(using: str) -> None:
    run(using, "SET statement_timeout = '50ms'")
    run(using, "SELECT pg_sleep(60)")
