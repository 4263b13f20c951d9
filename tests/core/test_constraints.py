"""Which constraint has refused a row, as each database says it."""

from __future__ import annotations

import pytest

from aioconcurrent.base.trace import LockSite
from aioconcurrent.exploring.runs import constraints_met
from tests.explore.traces import Tracer

T = Tracer()


@pytest.mark.parametrize(
    ("error", "name"),
    [
        ('duplicate key value violates unique constraint "voucher_code_key"\nDETAIL:  Key (code)', "voucher_code_key"),
        ('new row for relation "account" violates check constraint "enough"', "enough"),
        ("(1062, \"Duplicate entry 'x' for key 'voucher.code'\")", "voucher.code"),
        ("(4025, 'CONSTRAINT `enough` failed for `shop`.`account`')", "enough"),
        ("UNIQUE constraint failed: voucher.code, voucher.shop", "voucher.code, voucher.shop"),
        ("CHECK constraint failed: enough", "enough"),
    ],
)
def test_it_is_told_by_its_name_and_the_line_that_met_it(error: str, name: str) -> None:
    step = T.save(0, 1, error=f"IntegrityError: {error}")
    assert constraints_met([step, T.save(0, 1)]) == {LockSite("constraint", step.source or "", name)}


def test_other_errors_are_of_no_constraint() -> None:
    assert constraints_met([T.save(0, 1, error="OperationalError: (1205, 'Lock wait timeout exceeded')")]) == set()
