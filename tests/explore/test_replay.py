"""A token repeats its order: each time, in another process, and with a word on where the code has changed."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from aioconcurrent.report.progress import Tell, reporting
from aioconcurrent.running import explore as implementation
from aioconcurrent.sync import explore, replay
from tests.project.databases import thorough
from tests.project.scripts import output_of

from .catalogue import CATALOGUE
from .places import PLACES, Place, at, marks_of, thorough_but
from .replays import RACES, repeats, told

RARELY = [
    pytest.param(name, PLACES[place], id=f"{name}-{place}", marks=marks_of(place))
    for name, place in RACES
    if place in ("file", "postgresql-RC", "postgresql-SER", "mysql-RC", "mysql-SER")
]


USUAL = {
    ("lost update", "file"),
    ("lost update", "postgresql-RC"),
    ("deadlock", "mysql-RC"),
    ("write skew", "postgresql-SER"),
    ("phantom", "mysql-RC"),
    ("phantom", "file"),
}


@pytest.mark.parametrize("place", at("file"), indirect=True)
@pytest.mark.parametrize("times", [10, *thorough([pytest.param(100)])])
def test_many_replays_are_all_the_same(times: int, place: Place) -> None:
    assert repeats("lost update", place, times) == (times, times)


@pytest.mark.parametrize(
    ("name", "place"),
    thorough_but(RARELY, lambda name, place: (name, place.name) in USUAL),
    indirect=["place"],
)
def test_each_race_of_the_catalogue_can_be_replayed(name: str, place: Place) -> None:
    assert repeats(name, place, 2) == (2, 2)


@pytest.mark.parametrize("place", at("file"), indirect=True)
def test_a_replay_without_a_rule_is_judged_as_exploring_judges(place: Place) -> None:
    case = CATALOGUE["lost update"]
    case.rows(place.alias)
    calls = case.calls_at(place.alias)
    found = explore(*calls)
    assert found.counterexample
    again = replay(found.counterexample.token, *calls)
    assert again.counterexample
    assert told(again.counterexample) == told(found.counterexample)
    assert str(again.counterexample) == str(found.counterexample)


@pytest.mark.parametrize("place", at("file"), indirect=True)
def test_a_replay_of_an_order_that_is_right_says_so_and_draws_no_line(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    most_shown: list[int | None] = []

    def noting(most: int | None) -> AbstractContextManager[Tell]:
        most_shown.append(most)
        return reporting(most)

    monkeypatch.setattr(implementation, "reporting", noting)
    case = CATALOGUE["lost update"]
    case.rows(place.alias)
    found = replay("aioc1:0*2.1*2", *case.calls_at(place.alias))
    assert (found.verdict, found.exhaustive) == ("no race", False)
    assert "no other was run" in found.reason
    assert most_shown == [None]  # the terminal may be that of a debugger


BANK = """
from django.db import connection

def withdraw(amount):
    with connection.cursor() as cursor:
        cursor.execute("SELECT balance FROM account")
        (balance,) = cursor.fetchone()
        cursor.execute("UPDATE account SET balance = %s", [balance - amount])
        return balance - amount
"""
SCRIPT = """
import sys
from pathlib import Path
from django.conf import settings
name = str(Path("test_bank.sqlite3").resolve())
database = {"ENGINE": "django.db.backends.sqlite3", "NAME": name}
settings.configure(DATABASES={"default": database})
import django; django.setup()
from django.db import connection
from aioconcurrent.sync import explore, replay
import bank
with connection.cursor() as cursor:
    cursor.execute("CREATE TABLE IF NOT EXISTS account (id integer primary key, balance integer)")
    cursor.execute("DELETE FROM account")
    cursor.execute("INSERT INTO account VALUES (1, 100)")
call = (bank.withdraw, {"amount": 30})
token = Path("token")
if token.exists():
    found = replay(token.read_text(), call, call)
else:
    found = explore(call, call)
    token.write_text(found.counterexample.token)
print(found.verdict)
print(found.reason)
"""


def test_a_token_is_taken_by_another_process(tmp_path: Path) -> None:
    (tmp_path / "bank.py").write_text(BANK)
    first, second = (output_of(SCRIPT, tmp_path) for _ in range(2))
    assert first == second
    assert first.startswith("race\nlost update")


def test_a_replay_says_at_which_step_edited_code_left_the_schedule(tmp_path: Path) -> None:
    (tmp_path / "bank.py").write_text(BANK)
    output_of(SCRIPT, tmp_path)
    (tmp_path / "bank.py").write_text(BANK.replace("UPDATE account SET", "UPDATE account SET id = 1,"))
    assert output_of(SCRIPT, tmp_path) == (
        "inconclusive\nthe program left the schedule at step 3, where B asks for something else than when the token "
        "was made: sql UPDATE account SET id = 1, balance = %s\n"
    )


def test_a_replay_notices_code_that_does_less_than_before(tmp_path: Path) -> None:
    (tmp_path / "bank.py").write_text(BANK)
    output_of(SCRIPT, tmp_path)
    (tmp_path / "bank.py").write_text(BANK.replace('cursor.execute("UPDATE', '(lambda *_: None)("UPDATE'))
    verdict, reason = output_of(SCRIPT, tmp_path).splitlines()[-2:]
    assert verdict == "inconclusive"
    assert "left the schedule at step 3" in reason
