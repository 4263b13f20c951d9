"""Values are compared as a column would hold them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from aioconcurrent.exploring.judging.values import alike

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (0, "0.00"),
        (Decimal("10.00"), "10"),
        (True, 1),
        (NOON, "2026-11-27 12:00:00"),
        (NOON.astimezone(timezone(timedelta(hours=2))), NOON),
        ('{"a": 0}', "Jsonb({'a': 0})"),
        (None, None),
    ],
)
def test_what_a_column_holds_alike_is_alike(one: object, other: object) -> None:
    assert alike(one, other)
    assert alike(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [(0, None), ("", None), ("007", "7"), ("paid", "shipped"), (1, 2), ('{"a": 0}', '{"a": 1}'), (NOON, "2026-11-28")],
)
def test_what_a_column_holds_otherwise_is_not(one: object, other: object) -> None:
    assert not alike(one, other)
    assert not alike(other, one)
