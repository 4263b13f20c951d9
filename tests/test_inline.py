"""The start method "inline": the calls run one after another in the process of the test."""

import os
import threading
from typing import Any, NoReturn

import pytest
from django.db import connection

import aioconcurrent
from aioconcurrent import WrappedError, sync
from aioconcurrent.base.loops import current_backend
from aioconcurrent.sync import call_concurrently, make_concurrent_calls, options
from tests.project.echoes import echo, echo_async, fail, leave
from tests.project.shop.models import Counter

pytestmark = pytest.mark.usefixtures("inline")


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOCONCURRENT_START_METHOD", "inline")


def test_calls_run_in_this_process_and_thread() -> None:
    assert call_concurrently(2, os.getpid) == [os.getpid()] * 2
    assert call_concurrently(1, threading.get_ident) == [threading.get_ident()]


def test_calls_run_one_after_another_in_their_order() -> None:
    done: list[int] = []
    outcomes = make_concurrent_calls((done.append, (1,), {}), (done.append, (2,), {}), (done.append, (3,), {}))
    assert done == [1, 2, 3]
    times = [(report.started, report.finished) for report in outcomes.reports]
    assert times == sorted(times)


def test_arguments_and_results_need_not_travel() -> None:
    lock = threading.Lock()
    assert call_concurrently(1, echo, lock)[0] is lock


def test_a_string_and_a_coroutine_function_are_called_too() -> None:
    outcomes = make_concurrent_calls(("tests.project.echoes:echo", {"value": 1}), (echo_async, {"value": 2}))
    assert outcomes == [1, 2]


def test_an_error_is_wrapped_and_the_next_call_runs() -> None:
    failed, left, value = make_concurrent_calls(
        (fail, {"text": "not here"}), (leave, {"status": 3}), (echo, {"value": 1})
    )
    assert isinstance(failed, WrappedError)
    assert isinstance(failed.error, LookupError)
    assert failed.call == "call 1 of 3, tests.project.echoes.fail(text='not here')"
    assert isinstance(left.error, SystemExit)
    assert value == 1


def test_the_traceback_of_an_error_has_the_live_frames() -> None:
    [wrapped] = call_concurrently(1, fail, "not here").errors
    trace = wrapped.traceback
    assert trace is not None
    while trace.tb_next is not None:
        trace = trace.tb_next
    assert trace.tb_frame.f_code is fail.__code__
    assert trace.tb_frame.f_locals == {"text": "not here"}


def test_an_interrupt_is_not_wrapped() -> None:
    def interrupt() -> NoReturn:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call_concurrently(1, interrupt)


def test_prepare_runs_here_before_the_calls() -> None:
    done: list[str] = []
    with options(prepare=lambda: done.append("prepare")):
        call_concurrently(2, done.append, "call")
    assert done == ["prepare", "call", "call"]


@pytest.mark.django_db
def test_calls_are_inside_the_transaction_of_the_test() -> None:
    Counter.objects.create(name="clicks")
    assert call_concurrently(1, lambda: (connection.in_atomic_block, Counter.objects.count())) == [(True, 1)]


async def test_awaited_calls_run_in_this_process_one_after_another() -> None:
    done: list[Any] = []
    outcomes = await aioconcurrent.call_concurrently(2, lambda: done.append(os.getpid()))
    assert outcomes == [None, None]
    assert done == [os.getpid()] * 2


async def test_an_awaited_coroutine_function_runs_on_the_loop_of_its_caller(anyio_backend_name: str) -> None:
    async def backend() -> str | None:
        return current_backend()

    outcomes: sync.Outcomes = await aioconcurrent.call_concurrently(1, backend)
    outcomes.raise_errors()
    assert outcomes == [anyio_backend_name]


async def test_an_awaited_error_is_wrapped() -> None:
    [wrapped] = (await aioconcurrent.call_concurrently(1, fail, "not here")).errors
    assert isinstance(wrapped.error, LookupError)
