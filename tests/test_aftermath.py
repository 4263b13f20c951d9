"""What calls leave behind in their processes is where the test looks for it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import django
import pytest
from django.core import mail
from django.core.files.storage import FileSystemStorage, storages
from django.test import override_settings

import aioconcurrent
from aioconcurrent.sync import call_concurrently, explore, make_concurrent_calls
from tests.project import aftermath
from tests.project.shop.models import Account

pytest_plugins = ["tests.project.start_methods"]
pytestmark = pytest.mark.filterwarnings("ignore:(?s).*(Django 2028|deprecated)")  # e-mail without MAILERS, from 6.1 on
both_start_methods = pytest.mark.usefixtures("start_method")
with_rows = pytest.mark.django_db(transaction=True, databases=["default", "file"])


@pytest.fixture(autouse=True)
def _outbox() -> None:
    mail.outbox.clear()


@both_start_methods
def test_messages_of_the_calls_are_in_the_outbox_in_the_order_of_the_calls() -> None:
    aftermath.send("before")
    make_concurrent_calls(*[(aftermath.send, {"subject": f"of call {number}"}) for number in (1, 2, 3)]).raise_errors()
    assert [message.subject for message in mail.outbox] == ["before", "of call 1", "of call 2", "of call 3"]


def test_a_message_comes_with_its_attachments_though_it_had_a_connection() -> None:
    call_concurrently(1, aftermath.send_with_everything, "all").raise_errors()
    [message] = mail.outbox
    assert message.to == ["ann@example.org"]
    assert message.attachments == [("list.csv", "a;b", "text/csv")]


def test_what_was_sent_before_an_error_was_sent() -> None:
    [wrapped] = call_concurrently(1, aftermath.send_and_fail, "sorry").errors
    assert isinstance(wrapped.error, LookupError)
    assert [message.subject for message in mail.outbox] == ["sorry"]


def test_a_message_that_cannot_travel_is_told() -> None:
    with pytest.warns(RuntimeWarning, match="'odd' is missing in the outbox"):
        call_concurrently(1, aftermath.send_what_cannot_travel, "odd").raise_errors()
    assert mail.outbox == []


def test_a_message_that_ends_whoever_unpickles_it_is_told_and_costs_no_other_one() -> None:
    with pytest.warns(RuntimeWarning, match="is missing in the outbox of the test: SystemExit: not today"):
        call_concurrently(1, aftermath.send_what_exits_on_arrival, "odd").raise_errors()
    assert [message.subject for message in mail.outbox] == ["after odd"]


@pytest.mark.skipif(django.VERSION < (6, 1), reason="MAILERS came with Django 6.1")
def test_mailers_of_the_test_are_those_of_the_calls() -> None:
    locmem = {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}
    with override_settings(MAILERS={"default": locmem, "bulk": locmem}):
        call_concurrently(2, aftermath.send, "hi").raise_errors()
    assert [message.subject for message in mail.outbox] == ["hi", "hi"]


@with_rows
def test_an_exploration_sends_the_messages_of_the_run_that_it_tells_of() -> None:
    found = explore((aftermath.send, {"subject": "A"}), (aftermath.send, {"subject": "B"}))
    assert found.verdict == "inconclusive"  # nothing overlapped
    assert [message.subject for message in mail.outbox] == ["A", "B"]


@with_rows
@pytest.mark.parametrize("is_async", [False, True])
def test_a_rule_sees_the_messages_of_each_run(is_async: bool) -> None:
    seen: list[list[str]] = []

    def note(outcomes: Any) -> None:
        seen.append([str(message.subject) for message in mail.outbox])

    async def anote(outcomes: Any) -> None:
        note(outcomes)

    calls = (aftermath.send, {"subject": "A"}), (aftermath.send, {"subject": "B"})
    aftermath.send("before")
    found = anyio.run(partial(aioconcurrent.explore, *calls, check=anote)) if is_async else explore(*calls, check=note)
    assert found.verdict  # whatever it is
    assert set(map(tuple, seen)) == {("before", "A", "B")}
    assert [message.subject for message in mail.outbox] == ["before", "A", "B"]


@both_start_methods
@pytest.mark.parametrize("how", ["text", "path", "storage"])
def test_files_are_where_the_test_has_moved_them(how: str, tmp_path: Path) -> None:
    place: Any = tmp_path if how == "path" else str(tmp_path)
    changed: dict[str, Any] = {"MEDIA_ROOT": place}
    if how == "storage":
        backend = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": tmp_path}}
        changed = {"STORAGES": {"default": backend}}
    with override_settings(**changed):
        call_concurrently(2, aftermath.save, "bill.txt").raise_errors()
        assert isinstance(storages["default"], FileSystemStorage)
    assert len(list(tmp_path.iterdir())) == 2
    assert {file.read_bytes() for file in tmp_path.iterdir()} == {b"saved"}


@pytest.fixture
def rows_of_log() -> Iterator[None]:
    logger, handler = logging.getLogger("tests.rows"), aftermath.RowHandler()
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


LOGS = (aftermath.log, {"text": "1"}), (aftermath.log, {"text": "2"})


@pytest.mark.usefixtures("rows_of_log")
class TestHandlerThatWritesRows:
    @with_rows
    def test_it_writes_those_of_a_race(self) -> None:
        make_concurrent_calls(*LOGS).raise_errors()
        assert list(Account.objects.order_by("balance").values_list("balance", flat=True)) == [1, 2]

    @with_rows
    async def test_it_writes_those_of_a_race_under_an_event_loop(self, anyio_backend_name: str) -> None:
        (await aioconcurrent.make_concurrent_calls(*LOGS)).raise_errors()
        if anyio_backend_name == "asyncio":
            assert [account.balance async for account in Account.objects.order_by("balance")] == [1, 2]

    @with_rows
    def test_it_writes_those_of_an_exploration(self) -> None:
        assert explore(*LOGS).verdict
        assert list(Account.objects.order_by("balance").values_list("balance", flat=True)) == [1, 2]

    @with_rows
    async def test_it_writes_those_of_an_exploration_under_an_event_loop(self, anyio_backend_name: str) -> None:
        assert (await aioconcurrent.explore(*LOGS)).verdict
        if anyio_backend_name == "asyncio":
            assert [account.balance async for account in Account.objects.order_by("balance")] == [1, 2]


@with_rows
async def test_warnings_are_shown_where_the_database_may_be_used() -> None:
    shown: list[int] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda *_: shown.append(Account.objects.count())
        (await aioconcurrent.call_concurrently(1, aftermath.warn, "few")).raise_errors()
    assert shown == [0]
