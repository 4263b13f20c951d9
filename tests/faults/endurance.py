"""Many races in a row, and what they have in use."""

import gc
from dataclasses import dataclass

import psutil

from aioconcurrent.sync import call_concurrently
from tests.faults import calls
from tests.faults.processes import at_rest
from tests.faults.races import run_race


@dataclass(frozen=True)
class Use:
    """What this process and its template have in use while nothing goes on."""

    forks: int
    descriptors: int
    template_descriptors: int
    threads: int
    memory: int
    template_memory: int

    @classmethod
    def now(cls) -> "Use":
        [(_, pid)] = call_concurrently(1, calls.get_pids).values
        here, template = psutil.Process(), psutil.Process(pid)
        gc.collect()
        return at_rest(
            pid,
            lambda: cls(
                forks=len(template.children(recursive=True)),
                descriptors=here.num_fds(),
                template_descriptors=template.num_fds(),
                threads=template.num_threads(),
                memory=here.memory_info().rss,
                template_memory=template.memory_info().rss,
            ),
        )


def race(times: int) -> None:
    """Race, each time in a new event loop, with every other call failing."""
    for number in range(times):
        outcomes = run_race(("asyncio", "trio")[number % 2], (calls.answer_or_raise, {"value": number}))
        fails = number // 2 % 2
        assert [outcomes.reports[0].exit_status, len(outcomes.values), len(outcomes.errors)] == [0, 1 - fails, fails]
