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
    assert "billing.bill is no task of this project, and is not made" in found.reason


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
