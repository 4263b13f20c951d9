"""A test that stops or moves the clock: its calls see the same time, and no limit of ours stands still."""

from __future__ import annotations

import ast
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import anyio
import pytest
import time_machine
import trio
import trio.testing
from freezegun import freeze_time

import aioconcurrent
from aioconcurrent import TerminatedProcessError
from aioconcurrent.base import own_clock
from aioconcurrent.sync import call_concurrently, explore, options, override_environment
from tests.project import moments

pytest_plugins = ["tests.project.start_methods"]
both_start_methods = pytest.mark.usefixtures("start_method")

AT = "2020-02-29 23:30:00.25"
STARTED = datetime(2020, 2, 29, 23, 30, 0, 250_000, tzinfo=UTC)


@both_start_methods
@pytest.mark.parametrize("freeze", [freeze_time(AT), time_machine.travel(STARTED, tick=False)])
def test_calls_see_the_moment_at_which_the_test_has_stopped_the_clock(freeze: Any) -> None:
    with freeze:
        assert list(call_concurrently(2, moments.look)) == [moments.look()] * 2
    assert abs(call_concurrently(1, moments.look).values[0].seconds - time.time()) < 60


@pytest.mark.parametrize("freeze", [freeze_time(AT, tick=True), time_machine.travel(STARTED)])
def test_a_clock_that_ticks_in_the_test_ticks_in_the_calls(freeze: Any) -> None:
    with freeze:
        before = time.time()
        [(first, second)] = call_concurrently(1, moments.look_twice).values
        assert before < first < second < time.time()
    assert STARTED.timestamp() <= before < STARTED.timestamp() + 60


@pytest.mark.parametrize("zone", ["UTC", "America/Chicago", "Asia/Kathmandu"])
@pytest.mark.parametrize(
    ("start_method", "offset"),
    [("fork", 0), ("fork", -5), ("spawn", timedelta(hours=5, minutes=30))],
    indirect=["start_method"],
)
@both_start_methods
def test_local_times_are_those_that_freezegun_makes_up(zone: str, offset: Any) -> None:
    with override_environment(TZ=zone), freeze_time(AT, tz_offset=offset):
        assert list(call_concurrently(1, moments.look)) == [moments.look()]


def test_a_zone_that_time_machine_travels_to_comes_along() -> None:
    from zoneinfo import ZoneInfo

    with time_machine.travel(datetime(2020, 2, 29, 9, tzinfo=ZoneInfo("Asia/Tokyo")), tick=False):
        [seen] = call_concurrently(1, moments.look)
        assert seen == moments.look()
        assert seen.naive == datetime(2020, 2, 29, 9)  # noqa: DTZ001


def test_a_clock_that_each_look_moves_on_does_so_in_the_calls() -> None:
    with freeze_time(AT, auto_tick_seconds=15):
        [(first, second)] = call_concurrently(1, moments.look_twice).values
    assert first >= STARTED.timestamp()
    assert second > first
    assert (second - first) % 15 == 0


def test_the_innermost_of_several_freezes_counts_and_what_it_was_moved_to() -> None:
    with freeze_time("2001-01-01"), freeze_time("2002-02-02") as clock:
        clock.move_to("2003-03-03")
        assert call_concurrently(1, moments.look).values[0].zoned.date() == date(2003, 3, 3)
    with time_machine.travel(0, tick=False) as traveller:
        traveller.shift(86_400)
        assert call_concurrently(1, moments.look).values[0].zoned.date() == date(1970, 1, 2)


def test_prepare_may_move_the_clock_of_a_call_elsewhere() -> None:
    with freeze_time(AT), options(prepare=_travel):
        assert call_concurrently(1, moments.look).values[0].zoned.date() == date(1970, 1, 1)


def _travel() -> None:
    time_machine.travel(0).start()


@pytest.mark.parametrize(
    "freeze",
    [
        pytest.param(freeze_time(AT), id="stands"),
        pytest.param(freeze_time(AT, tick=True), id="ticks"),
        pytest.param(time_machine.travel(STARTED), id="ticks too"),
        pytest.param(time_machine.travel(STARTED, tick=False), id="stands too"),
    ],
)
@pytest.mark.django_db(transaction=True)
def test_the_clock_of_a_test_stands_in_an_exploration_whether_it_ticks_or_not(
    freeze: Any, request: pytest.FixtureRequest
) -> None:
    found: list[Any] = []

    def note(outcomes: Any) -> bool:
        found.append(outcomes.values)
        return True

    with freeze:
        assert explore((moments.look_twice, {}), (moments.look_twice, {}), check=note).verdict
        shown = time.time()
    for first, second in {times for run in found for times in run}:
        assert first == second
        assert abs(first - shown) < 60
    if "ticks" not in request.node.name:
        assert {times for run in found for times in run} == {(STARTED.timestamp(),) * 2}


@both_start_methods
@pytest.mark.parametrize("value", [datetime(2020, 1, 2, tzinfo=UTC), date(2020, 1, 2), datetime.now, time.time])
def test_dates_and_clocks_travel_as_the_real_ones(value: Any) -> None:
    with freeze_time(AT):
        frozen = value.replace(day=3) if isinstance(value, date) else value
        [(kind, same)] = call_concurrently(1, lambda: (type(frozen).__module__, frozen)).values
    assert not kind.startswith("freezegun")
    assert callable(value) or same == value.replace(day=3)


def test_what_a_function_of_the_test_knows_of_dates_is_the_real_thing_in_a_call() -> None:
    with freeze_time(AT):
        from datetime import datetime as frozen  # freezegun's

        now, tomorrow = frozen.now(UTC), frozen.now(UTC) + timedelta(days=1)
        [seen] = call_concurrently(1, lambda: (frozen.now(UTC), tomorrow, frozen.__module__, isinstance(now, frozen)))
    assert seen == (STARTED, STARTED + timedelta(days=1), "datetime", True)


FREEZES: list[dict[str, Any]] = [{}, {"tick": True}, {"auto_tick_seconds": 100}, {"real_asyncio": True}]


@pytest.mark.parametrize("at", [AT, "1970-01-01"])
@pytest.mark.parametrize("freeze", FREEZES)
def test_a_call_that_hangs_is_ended_in_time_though_the_clock_stands(freeze: dict[str, Any], at: str) -> None:
    begun = own_clock.monotonic()
    with freeze_time(at, **freeze), options(timeout=0.3):
        [wrapped] = call_concurrently(1, moments.hang).errors
    assert isinstance(wrapped.error, TerminatedProcessError)
    assert own_clock.monotonic() - begun < 60  # it would hang for ten minutes


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_the_loop_of_the_caller_tells_real_time_while_calls_run_and_only_then(anyio_backend: str) -> None:
    with freeze_time(AT):
        with options(timeout=0.3):
            [wrapped] = (await aioconcurrent.call_concurrently(1, moments.hang)).errors
        assert isinstance(wrapped.error, TerminatedProcessError)
        with anyio.move_on_after(0.3) as scope:  # the caller's own
            await aioconcurrent.call_concurrently(1, moments.hang)
        assert scope.cancelled_caught
        assert anyio.current_time() == anyio.current_time()


async def test_the_loop_ticks_until_the_last_of_several_blocks_is_left() -> None:
    with freeze_time(AT):
        stands = anyio.current_time()
        first, second = own_clock.ticking_loop(), own_clock.ticking_loop()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        await anyio.sleep(0.01)
        assert anyio.current_time() > stands
        second.__exit__(None, None, None)
        assert anyio.current_time() == stands


def test_a_clock_of_trio_that_jumps_does_not_end_calls_ahead_of_their_time() -> None:
    async def main() -> list[Any]:
        return list(await aioconcurrent.call_concurrently(1, time.sleep, 0.1))

    assert trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0)) == [None]


def test_coroutines_sleep_in_calls_of_a_test_that_has_stopped_the_clock() -> None:
    with freeze_time(AT):
        assert list(call_concurrently(1, moments.sleep_and_look)) == [STARTED.timestamp()]


@pytest.mark.django_db(transaction=True)
def test_the_time_limit_of_an_exploration_is_real_though_the_clock_stands() -> None:
    with freeze_time(AT), options(timeout=0.5):
        found = explore((moments.hang, {}), (moments.hang, {}), max_seconds=2)
    assert found.verdict == "inconclusive"


def test_patched_clocks_are_not_ours() -> None:
    real = time.monotonic()
    with mock.patch("time.monotonic", return_value=0.0), mock.patch("time.sleep") as sleep:
        assert own_clock.monotonic() >= real
        own_clock.sleep(0)
    assert not sleep.called


def test_no_module_of_ours_waits_by_a_clock_that_can_be_patched() -> None:
    package = Path(aioconcurrent.__file__).parent
    for file in package.rglob("*.py"):
        tree = ast.parse(file.read_text())
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        asked = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "time"
        }
        if "time" in names:
            assert not asked & {"monotonic", "monotonic_ns", "perf_counter", "sleep"}, file
