"""Pruning loses no outcome: a fixed sample of what `hatch run fuzz:schedules` does for longer."""

from __future__ import annotations

import pytest

from .random_programs import Tally, check

# 102: SQLite after a statement that nobody understood; 3030: a deadlock over different tables.
SAMPLE = (*range(20), 102, 3030)


@pytest.mark.parametrize("seed", SAMPLE)
def test_a_random_program_gives_every_outcome(seed: int) -> None:
    check(seed, Tally())
