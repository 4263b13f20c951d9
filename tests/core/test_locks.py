"""What is said of a lock, from what came of the calls without it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aioconcurrent.base.trace import LockSite
from aioconcurrent.results.exploration import Exploration
from aioconcurrent.running.measures import came_of

SITE = LockSite("atomic", "shop/bank.py:41 in withdraw: with atomic():")
SAFE = Exploration("no race", "all orders were run", True, 6, ("withdraw(80)", "withdraw(70)"), notes=("of both",))
RAISES = "even with the calls one after the other, A raises TransactionManagementError"


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (SAFE, "not needed"),
        (replace(SAFE, preemptions=1), "not needed, as far as orders with up to 1 preemptions tell"),
        (replace(SAFE, verdict="inconclusive", reason="the budget is spent"), "left open: the budget is spent"),
        (replace(SAFE, notes=(*SAFE.notes, RAISES)), f"left open: {RAISES}"),
    ],
)
def test_a_lock_is_not_needed_only_where_the_calls_are_known_to_be_safe_without_it(
    found: Exploration, told: str
) -> None:
    assert str(came_of([SITE], found, SAFE)) == f"atomic at bank.py:41: {told}"


def test_an_error_that_the_calls_raise_with_all_their_locks_too_leaves_nothing_open() -> None:
    raising = replace(SAFE, notes=(RAISES,))
    assert came_of([SITE], raising, raising).needed is False
