"""Calls that run SQL texts, each a statement of its own, for what the ORM has no words for."""

from typing import Any

from django.db import connections, transaction

from tests.project.shop.races import repeated


def run(*texts: str, using: str) -> list[Any]:
    """Run the statements in autocommit; return the rows that each of them read."""
    found = []
    with connections[using].cursor() as cursor:
        for text in texts:
            cursor.execute(text)
            found.append(list(cursor.fetchall()) if cursor.description else None)
    return [rows for rows in found if rows is not None]


def run_in_atomic(*texts: str, using: str) -> list[Any]:
    with transaction.atomic(using):
        return run(*texts, using=using)


def run_patiently(*texts: str, using: str) -> list[Any]:
    """Run them again as long as the database asks for that."""
    found: list[Any] = repeated(lambda: run(*texts, using=using))
    return found
