"""Which of many calls may go wrong without the others."""

from __future__ import annotations

from aioconcurrent.base.trace import Run
from aioconcurrent.databases.schema import Catalogue
from aioconcurrent.exploring.judging.judge import Seen
from aioconcurrent.exploring.proof import entangled
from tests.explore.traces import Tracer

T = Tracer()
CALLS = (0, 1, 2)
SEEN = Seen(
    Run((None,) * 3, {}, (*(T.read(call, 100) for call in CALLS), *(T.save(call, 20) for call in CALLS))), CALLS, ()
)


def test_a_task_is_there_with_the_call_that_enqueues_it() -> None:
    catalogue = Catalogue(frozenset({"account"}))
    assert [*entangled(SEEN, 2, catalogue, {})] == [(0, 1), (0, 2), (1, 2)]
    assert [*entangled(SEEN, 2, catalogue, {2: 0})] == [(0, 2)]
