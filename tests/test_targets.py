"""What can be called, and what can be passed to it and returned from it."""

import functools
import importlib.util
import math
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

import anyio.lowlevel
import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import connection, connections

from aioconcurrent import UnpicklableError, sync
from aioconcurrent.base.calls import parsed
from aioconcurrent.base.loops import current_backend
from aioconcurrent.sync import call_concurrently, make_concurrent_calls
from tests.project import echoes
from tests.project.scripts import output_of
from tests.project.shop.models import Counter

pytest_plugins = ["tests.project.start_methods"]
both_start_methods = pytest.mark.usefixtures("start_method")

P = ParamSpec("P")
T = TypeVar("T")


class Seat:
    """A class of a test module, as an argument and a result."""

    count = 3

    def __init__(self, row: str) -> None:
        self.row = row

    def __call__(self, number: int) -> str:
        return f"{self.row}{number}"

    def named(self, number: int) -> str:
        return f"{self.row}-{number}"

    @classmethod
    def counted(cls) -> int:
        return cls.count

    @staticmethod
    def doubled(number: int) -> int:
        return 2 * number


def next_seat(seat: Seat) -> Seat:
    assert type(seat) is Seat
    return Seat(chr(ord(seat.row) + 1))


def untold(function: Callable[P, T]) -> Callable[P, T]:
    """A decorator without functools.wraps."""

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)

    return run


def told(function: Callable[P, T]) -> Callable[P, T]:
    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)

    return run


@untold
def half(number: float) -> float:
    return number / 2


@told
def third(number: float) -> float:
    return number / 3


def where() -> str:
    """Return the name of the module that this function's process has it from."""
    return __name__ if globals() is vars(sys.modules[__name__]) else "a copy"


async def backend() -> str | None:
    await anyio.lowlevel.checkpoint()
    return current_backend()


@untold
async def backend_untold() -> str | None:
    return await backend()


class AsyncSeat:
    async def __call__(self) -> str | None:
        return await backend()


def backend_later() -> Awaitable[str | None]:
    """No coroutine function, but it returns a coroutine."""
    return backend()


def only(outcomes: sync.Outcomes) -> Any:
    outcomes.raise_errors()
    assert len(outcomes) == 1
    return outcomes[0]


@both_start_methods
def test_a_function_of_the_test_module_is_imported() -> None:
    assert only(call_concurrently(1, where)) == __name__


def test_a_builtin_function() -> None:
    assert only(call_concurrently(1, math.hypot, 3, 4)) == 5


def test_a_lambda() -> None:
    assert only(call_concurrently(1, lambda number: number + 1, 1)) == 2


@both_start_methods
def test_a_closure_takes_along_what_it_closes_over() -> None:
    rows = ["A", "B"]

    def last_row() -> str:
        return rows[-1]

    assert only(call_concurrently(1, last_row)) == "B"


@both_start_methods
def test_a_closure_uses_the_globals_of_django_where_it_runs() -> None:
    def live() -> list[bool]:
        from django import conf, db
        from django.core import cache as caching

        return [
            connection is db.connection,
            connections is db.connections,
            settings is conf.settings,
            cache is caching.cache,
        ]

    assert only(call_concurrently(1, live)) == [True, True, True, True]


def test_what_a_closure_uses_and_cannot_travel_is_not_taken_for_an_argument() -> None:
    lock = threading.Lock()
    with pytest.raises(UnpicklableError, match=r"^The function or an argument of call 1 of 1, .* cannot travel"):
        call_concurrently(1, lambda: lock.locked())


def test_a_bound_method_takes_along_its_object() -> None:
    assert only(call_concurrently(1, Seat("A").named, 7)) == "A-7"


def test_a_callable_object() -> None:
    assert only(call_concurrently(1, Seat("A"), 7)) == "A7"


def test_class_and_static_methods() -> None:
    assert only(call_concurrently(1, Seat.counted)) == 3
    assert only(call_concurrently(1, Seat.doubled, 4)) == 8


def test_a_class_makes_an_object() -> None:
    seat = only(call_concurrently(1, Seat, "A"))
    assert type(seat) is Seat
    assert seat.row == "A"


def test_a_partial_takes_along_its_arguments() -> None:
    prefix = functools.partial(os.path.join, "shop")
    assert only(call_concurrently(1, prefix, "tickets")) == os.path.join("shop", "tickets")
    assert only(make_concurrent_calls(functools.partial(echoes.echo, value=1))) == 1


@pytest.mark.parametrize(("function", "result"), [(half, 3), (third, 2)])
def test_a_decorated_function_runs_decorated(function: Callable[[float], float], result: float) -> None:
    assert only(call_concurrently(1, function, 6)) == result


@both_start_methods
@pytest.mark.parametrize("target", ["tests.project.echoes:echo", f"{__name__}:Seat.doubled", "math:floor"])
def test_a_string_names_what_to_import(target: str) -> None:
    assert only(call_concurrently(1, target, 4)) in (4, 8)


def test_what_a_test_has_put_in_place_of_a_function_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(echoes, "echo", lambda value: ("patched", value))
    assert only(call_concurrently(1, echoes.echo, 1)) == ("patched", 1)


def test_every_argument_is_the_functions() -> None:
    def kwargs(*args: object, **kwargs: object) -> object:
        return args, kwargs

    names = {"concurrency": 9, "function": 8, "timeout": 7, "self": 6, "calls": 5, "options": 4}
    assert only(call_concurrently(1, kwargs, 1, 2, **names)) == ((1, 2), names)


def test_calls_are_written_in_three_ways() -> None:
    outcomes = make_concurrent_calls(
        (echoes.echo, {"value": 1}), (echoes.echo, (2,), {}), functools.partial(echoes.echo, 3)
    )
    assert outcomes == [1, 2, 3]


def test_results_are_in_the_order_of_the_calls() -> None:
    assert make_concurrent_calls(*[(echoes.echo, {"value": number}) for number in range(4)]) == [0, 1, 2, 3]


@both_start_methods
def test_classes_of_the_test_module_keep_their_identity_as_arguments_and_results() -> None:
    seat = only(call_concurrently(1, next_seat, Seat("A")))
    assert type(seat) is Seat
    assert seat.row == "B"


def test_a_class_made_inside_a_test_keeps_its_identity() -> None:
    class Ticket:
        pass

    def same(ticket: Ticket) -> tuple[bool, Ticket]:
        return type(ticket) is Ticket, ticket

    is_same, ticket = only(call_concurrently(1, same, Ticket()))
    assert is_same
    assert type(ticket) is Ticket


@pytest.fixture(params=["unfound_shop", "no_package.unfound_shop", "unregistered"])
def unfound(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module that is loaded and cannot be imported by its name, like a test module of --import-mode=importlib."""
    path = tmp_path / "shop.py"
    path.write_text(
        "class Ticket:\n"
        "    price = 5\n"
        "def sell(tickets):\n"
        "    return [*tickets, Ticket()], sum(ticket.price for ticket in tickets)\n"
        "class Refused(LookupError):\n"
        "    pass\n"
        "def refund(ticket):\n"
        "    assert type(ticket) is Ticket\n"
        "    raise Refused(ticket.price)\n"
    )
    spec = importlib.util.spec_from_file_location(request.param, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    if request.param != "unregistered":
        monkeypatch.setitem(sys.modules, request.param, module)
    spec.loader.exec_module(module)
    return module


@both_start_methods
def test_functions_and_classes_of_a_module_without_a_name_to_import(unfound: ModuleType) -> None:
    tickets, price = only(call_concurrently(1, unfound.sell, [unfound.Ticket()]))
    assert price == 5
    assert [type(ticket) for ticket in tickets] == [unfound.Ticket, unfound.Ticket]
    [wrapped] = call_concurrently(1, unfound.refund, unfound.Ticket())
    assert type(wrapped.error) is unfound.Refused, wrapped


def test_a_module_without_a_name_to_import_is_not_left_among_the_modules(unfound: ModuleType) -> None:
    before = [*sys.modules], [*sys.meta_path]
    only(call_concurrently(1, unfound.sell, []))
    assert ([name for name in sys.modules if "unfound" in name or "unregistered" in name], sys.meta_path) == (
        [name for name in before[0] if "unfound" in name or "unregistered" in name],
        before[1],
    )


@both_start_methods
@pytest.mark.parametrize("function", [backend, backend_untold, AsyncSeat(), backend_later])
async def test_a_coroutine_function_runs_on_the_loop_of_its_caller(
    function: Callable[[], Awaitable[str | None]], anyio_backend_name: str
) -> None:
    from aioconcurrent import call_concurrently

    assert only(await call_concurrently(1, function)) == anyio_backend_name


@pytest.mark.parametrize("function", [backend, backend_untold, AsyncSeat(), backend_later])
def test_a_coroutine_function_runs_on_asyncio_for_the_blocking_api(function: Callable[[], Awaitable[Any]]) -> None:
    assert only(call_concurrently(1, function)) == "asyncio"


def test_a_coroutine_function_named_by_a_string() -> None:
    assert only(call_concurrently(1, "tests.project.echoes:echo_async", 3)) == 3


MAIN = """
import os
from aioconcurrent.sync import call_concurrently

class Ticket:
    def __init__(self, number):
        self.number = number

def number_of(ticket):
    assert type(ticket) is Ticket
    return ticket.number

def following(ticket):
    return Ticket(number_of(ticket) + 1)

async def later(ticket):
    return number_of(ticket)

def lost(ticket):
    raise LookupError(ticket.number)

print("started", os.getpid())
ticket = Ticket(7)
print(*call_concurrently(2, number_of, ticket))
[after] = call_concurrently(1, following, ticket)
print(type(after) is Ticket, after.number)
print(*call_concurrently(1, later, ticket))
print(call_concurrently(1, lost, ticket)[0].error)
"""


@both_start_methods
def test_a_script_calls_its_own_functions_without_a_guard(tmp_path: Path) -> None:
    started, *rest = output_of(MAIN, tmp_path).splitlines()
    assert started.startswith("started")
    assert rest == ["7 7", "True 8", "7", "7"]


def test_a_row_is_told_by_its_key_and_any_other_object_by_its_class() -> None:
    calls = parsed([(echoes.echo, {"value": value}) for value in (Counter(pk=7, name="clicks"), Counter(), Seat("A"))])
    assert [call.text for call in calls] == [f"echo(value=<{shown}>)" for shown in ("Counter pk=7", "Counter", "Seat")]
