"""What has changed in memory is told by its place, and what only looks as if it had is not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from aioconcurrent.engine.left_behind import Heap, UnknowableError

SHOP = """
import contextvars, functools, itertools, logging, random, re, threading
from collections import Counter, OrderedDict, defaultdict, deque

cache, number, big, flag = {"a": 1}, 0, 1000, None
shelf = {"a": [1]}.values()
ordered, queue, lists, tally, seen = OrderedDict(), deque(), defaultdict(list), Counter(), set()
buffer, chance, numbers, steps = bytearray(b"x"), random.Random(1), itertools.count(), iter([1, 2, 3])
local, variable, lock = threading.local(), contextvars.ContextVar("shop"), threading.Lock()
local.basket, basket = [], contextvars.ContextVar("basket", default=[])
pattern, log = re.compile("x"), logging.getLogger("shop")


class Till:
    is_open = False

    def __init__(self):
        self.drawer = {"coins": [1]}


class Slot:
    __slots__ = ("coin",)


till, slot = Till(), Slot()
slot.coin = 1


def outer():
    count = 0

    def inner():
        nonlocal count
        count += 1

    return inner


def keep(what=[]):
    what.append(1)


@functools.lru_cache
def known(what):
    return what


@functools.lru_cache
def rate():
    return next(rates)


@functools.cache
def share():
    return next(rates)


def warm(function):
    global rates
    rates = iter([object()])
    function()
    rates = None


warm(rate)
warm(share)


counting = outer()
"""


@pytest.fixture
def shop() -> Iterator[ModuleType]:
    module = ModuleType("shop_of_test_heap")
    sys.modules[module.__name__] = module
    exec(SHOP, vars(module))  # noqa: S102 - a module that no other test has
    yield module
    del sys.modules[module.__name__]


@pytest.mark.parametrize(
    ("statement", "place"),
    [
        ("cache['b'] = 2", "cache"),
        ("cache['a'] = 2", "cache"),
        ("del cache['a']; cache['b'] = 1", "cache"),
        ("next(iter(shelf)).append(2)", "shelf"),
        ("number += 1", "number"),
        ("big += 1", "big"),
        ("flag = True", "flag"),
        ("new = 1", "new"),
        ("ordered['a'] = 1", "ordered"),
        ("queue.append(1)", "queue"),
        ("lists['a']", "lists"),
        ("tally['a'] += 1", "tally"),
        ("seen.add(1)", "seen"),
        ("buffer.append(1)", "buffer"),
        ("chance.random()", "chance"),
        ("next(numbers)", "numbers"),
        ("next(steps)", "steps"),
        ("local.here = 1", "local"),
        ("variable.set(1)", "variable"),
        ("basket.get().append(1)", "basket"),
        ("local.basket.append(1)", "local"),
        ("lock.acquire()", "lock"),
        ("Till.is_open = True", "Till.is_open"),
        ("Till.opened = True", "Till.opened"),
        ("till.drawer['coins'].append(1)", "till"),
        ("till.closed = True", "till"),
        ("slot.coin = 2", "slot"),
        ("counting()", "counting"),
        ("keep()", "keep"),
        ("keep.calls = 1", "keep"),
        ("known(1)", "known"),
        ("rate.cache_clear(); warm(rate)", "rate"),
        ("share.cache_clear(); warm(share)", "share"),
    ],
)
def test_what_has_changed_is_told_by_its_place(shop: ModuleType, statement: str, place: str) -> None:
    heap = Heap({shop.__name__: shop}, {})
    assert heap.change() == ""
    exec(statement, vars(shop))  # noqa: S102
    assert heap.change() == f"{shop.__name__}.{place}"


@pytest.mark.parametrize(
    "statement",
    [
        "big = big + 1 - 1",
        "log.isEnabledFor(10)",
        "till.__dict__; vars(keep); Till.__annotations__",
        "pattern.match('x')",
        "cache['b'] = 2; del cache['b']",
        "till.drawer, _ = till.drawer, 1; del _",
    ],
)
def test_what_only_looks_as_if_it_had_changed_is_not_told(shop: ModuleType, statement: str) -> None:
    heap = Heap({shop.__name__: shop}, {})
    exec(statement, vars(shop))  # noqa: S102
    assert heap.change() == ""
    assert heap.change() == ""


def test_what_cannot_be_looked_into_is_refused(shop: ModuleType) -> None:
    exec("left = (number for number in range(3))", vars(shop))  # noqa: S102
    with pytest.raises(UnknowableError, match=f"{shop.__name__}.left, a builtins.generator"):
        Heap({shop.__name__: shop}, {})


def test_other_objects_are_known_by_the_names_that_they_are_given() -> None:
    settings = {"DEBUG": True}
    heap = Heap({}, {"the settings": settings})
    settings["DEBUG"] = False
    assert heap.change() == "the settings"
