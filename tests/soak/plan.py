"""What each race of a soak is: drawn from the seed and its number, so that one can be run again alone."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

DATABASES = ("default", "file", "postgresql", "mysql")
SERVERS = ("postgresql", "mysql")
RUNNERS = ("asyncio", "trio", "blocking")

FAULTS = {"kill": 6, "exit": 4, "close": 2, "flood": 1, "unpicklable": 4, "error": 2, "termination": 3, "none": 4}
AROUND = {"nothing": 26, "cancel": 8, "cancel twice": 5, "template killed": 3, "sessions ended": 4, "parent killed": 1}
PARENT_KILLS = 0.3  # of those drawn: the next host takes seconds to come up
EXPLORATIONS = 0.05
STOPS = 0.02
SPAWNED = 0.01
CALLS = (1, 2, 3, 5, 8, 12, 20)
SPAWNED_CALLS = 3  # at most


@dataclass(frozen=True)
class Fault:
    """What happens to a call: after so many seconds, where it is not at its end.

    Attributes:
        kind: One of `FAULTS`, or "stop".
        detail: Chooses among the ways to do it.
    """

    kind: str
    delay: float
    detail: int


@dataclass(frozen=True)
class Plan:
    """One race, or exploration.

    Attributes:
        faults: One for each call.
        around: What happens to the race as a whole; one of `AROUND`.
        moments: When, in seconds from its beginning.
        timeout: Seconds that a call has.
    """

    number: int
    database: str
    runner: str
    start_method: str
    explores: bool
    faults: tuple[Fault, ...]
    around: str
    moments: tuple[float, ...]
    timeout: float


def draw(seed: int, number: int, without: frozenset[str] = frozenset()) -> Plan:
    """The race of this number; kinds of faults in `without` are left out of it."""
    random = Random(f"{seed} {number}")
    explores, stops = random.random() < EXPLORATIONS, random.random() < STOPS
    database = random.choice(DATABASES)
    start_method = "spawn" if random.random() < SPAWNED else "fork"
    around = _chosen(random, AROUND)
    if around == "parent killed" and random.random() > PARENT_KILLS:
        around = "nothing"
    count = random.randint(2, 3) if explores else random.choice(CALLS)
    count = min(count, SPAWNED_CALLS) if start_method == "spawn" else count
    kinds = ["stop" if stops else _chosen(random, FAULTS) for _ in range(count)]
    if explores:
        kinds = [kind if random.random() < 1 / count else "none" for kind in kinds]
        explores = "stop" not in kinds
    span = 0.5 if explores or start_method == "spawn" else 0.08
    faults = tuple(Fault(_possible(kind, database), random.uniform(0, span), random.randrange(100)) for kind in kinds)
    first = random.uniform(0, span * 2)
    moments = (first, first + random.uniform(0, 0.15)) if around == "cancel twice" else (first,)
    if around in without or (around == "cancel twice" and "cancel" in without):
        around = "nothing"
    if around == "sessions ended" and database not in SERVERS:
        around = "nothing"
    faults = tuple(Fault("none", 0, 0) if fault.kind in without else fault for fault in faults)
    runner = random.choice(RUNNERS)
    return Plan(number, database, runner, start_method, explores, faults, around, moments, 1.0 if stops else 30.0)


def _chosen(random: Random, weights: dict[str, int]) -> str:
    return random.choices(list(weights), list(weights.values()))[0]


def _possible(kind: str, database: str) -> str:
    return "kill" if kind == "termination" and database not in SERVERS else kind
