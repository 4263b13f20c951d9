"""Tasks of Celery in explored calls; a worker and a broker of its own show that what was found happens."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from aioconcurrent.sync import explore
from tests import servers
from tests.project.databases import on
from tests.project.shop.models import Account

pytest.importorskip("celery")
from tests.project.shop import celery_tasks as tasks

IN_MEMORY = pytest.mark.parametrize("database", on("default"))


@IN_MEMORY
@pytest.mark.parametrize("how", ["delay", "countdown", "signature", "name"])
def test_a_task_that_is_sent_before_the_commit_may_come_before_it(database: str, how: str) -> None:
    found = explore((tasks.place, {"using": database, "how": how}))
    assert found.counterexample, found
    assert "B raised DoesNotExist" in found.counterexample.explanation
    assert found.counterexample.calls[1].startswith("send_receipt(")


@IN_MEMORY
@pytest.mark.parametrize("how", ["on commit", "retried"])
def test_a_task_that_comes_later_or_again_finds_what_it_looks_for(database: str, how: str) -> None:
    found = explore((tasks.place, {"using": database, "how": how}))
    assert (found.verdict, found.exhaustive) == ("no race", True), found


@IN_MEMORY
def test_a_chain_is_made_task_by_task(database: str) -> None:
    Account.objects.using(database).create(pk=1)
    found = explore((tasks.chained, {"using": database}))
    assert [call.partition("(")[0] for call in found.calls] == ["chained", "send_receipt", "count"], found
    assert (found.verdict, found.exhaustive) == ("no race", True), found


@IN_MEMORY
def test_a_task_of_somebody_else_is_not_made_and_that_is_said(database: str) -> None:
    found = explore((tasks.place, {"using": database, "how": "elsewhere"}))
    assert len(found.calls) == 1
    told = "enqueued and not followed: billing.bill is no task of this project, and is not made"
    assert told in found.reason
    assert told in found.notes


@IN_MEMORY
def test_the_body_of_a_chord_is_not_made_and_that_is_said(database: str) -> None:
    found = explore((tasks.place, {"using": database, "how": "chord"}))
    assert found.counterexample, found
    assert [call.partition("(")[0] for call in found.calls] == ["place", "send_receipt"]
    [note] = [note for note in found.notes if note.startswith("enqueued and not followed")]
    assert "celery_tasks.count, the body of a chord, is not made" in note
    assert not [note for note in found.notes if "ConnectionError" in note]


@IN_MEMORY
@pytest.mark.parametrize("how", ["waited for", "all waited for"])
def test_a_call_that_waits_for_the_result_of_a_task_is_told_so_at_once(database: str, how: str) -> None:
    found = explore((tasks.place, {"using": database, "how": how}))
    assert (found.verdict, found.schedules_run) == ("inconclusive", 1)
    assert found.reason.startswith("An explored call waits for the result of ")
    assert [note for note in found.notes if note.startswith("enqueued and not followed: the result of ")]


def test_celery_is_not_imported_for_projects_that_do_not_use_it_and_is_met_where_they_do_so_later() -> None:
    program = """
import sys
from aioconcurrent.databases.watching import tasks as followed
heard = []
followed.install()
followed.notice(heard.append)
assert not [name for name in sys.modules if name.partition(".")[0] == "celery"]
from celery import Celery
app = Celery("shop", broker="memory://", task_always_eager=True)
def add(): pass
app.task(name="add")(add).delay()
assert [told.partition(" of ")[0] for told in heard] == ["<@task: add"], heard
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@IN_MEMORY
def test_what_the_serializer_refuses_is_refused(database: str) -> None:
    found = explore((tasks.place, {"using": database, "how": "object"}))
    assert "EncodeError: Object of type Coupon is not JSON serializable" in found.reason


def test_a_worker_does_what_was_found(tmp_path: Path) -> None:
    redis = servers.find_redis()
    if not redis:
        pytest.skip(servers.NO_REDIS)
    environment = {
        **os.environ,
        "CELERY_TEST_REDIS": redis,
        "CELERY_TEST_PREFIX": f"aioconcurrent-{uuid.uuid4()}:",
        "CELERY_TEST_FILE": str(tmp_path / "db.sqlite3"),
    }
    command = [sys.executable, "-m", "tests.explore.celery_worker"]
    told = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=120)
    assert told.stdout.splitlines() == ["delay: DoesNotExist", "delay_on_commit: sent"], told.stderr
