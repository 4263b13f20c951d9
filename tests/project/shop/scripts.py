"""Calls that run SQL texts, each a statement of its own, for what the ORM has no words for."""

from typing import Any

from django.db import connections, transaction


def run(*texts: str, using: str) -> list[Any]:
    """Run the statements in autocommit; return what the last one read."""
    with connections[using].cursor() as cursor:
        for text in texts:
            cursor.execute(text)
        return list(cursor.fetchall()) if cursor.description else []


def run_in_atomic(*texts: str, using: str) -> list[Any]:
    with transaction.atomic(using):
        return run(*texts, using=using)
