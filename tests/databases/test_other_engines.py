"""An engine of which nothing is known here, as Oracle's or SQL Server's: races work, exploring is refused."""

from pathlib import Path

from tests.faults.projects import Project

ENGINE = """
from django.db.backends.sqlite3 import base

class DatabaseWrapper(base.DatabaseWrapper):
    vendor = "other"
"""
CALLS = """
from django.db import connection

def change():
    with connection.cursor() as cursor:
        cursor.execute("UPDATE shop SET sold = sold + 1")

def sold():
    with connection.cursor() as cursor:
        cursor.execute("SELECT sold FROM shop")
        return cursor.fetchone()[0]
"""
PROGRAM = """
import json
from django.db import connection
from aioconcurrent import AioconcurrentError
from aioconcurrent.sync import call_concurrently, explore
from site_app.calls import change, sold

with connection.cursor() as cursor:
    cursor.execute("CREATE TABLE shop (sold integer)")
    cursor.execute("INSERT INTO shop VALUES (0)")
call_concurrently(3, change).raise_errors()
try:
    explore((change, {}), (change, {}))
except AioconcurrentError as error:
    print(json.dumps([sold(), type(error).__name__, str(error)]))
"""
REFUSAL = (
    "Database 'default' is of the engine 'other', but calls can be explored only on PostgreSQL, MariaDB, MySQL and "
    "SQLite. call_concurrently works on it."
)


def test_a_race_works_on_it_and_exploring_says_that_it_does_not(tmp_path: Path) -> None:
    project = Project(
        tmp_path, settings='DATABASES["default"] |= {"ENGINE": "other_engine", "NAME": FOLDER / "test_shop.sqlite3"}'
    )
    project.write("other_engine/__init__.py", "")
    project.write("other_engine/base.py", ENGINE)
    project.write("site_app/calls.py", CALLS)
    assert project.run(PROGRAM) == [
        3,
        "UnexplorableDatabaseError",
        REFUSAL,
    ]
