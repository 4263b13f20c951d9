"""Orders drawn at random, and how likely they are to meet a race.

Each step has a random priority, and of the calls that can go on, the one whose next step has the highest goes first.
That is BasicPOS of Yuan, Yang and Gu, "Partial Order Aware Concurrency Sampling", CAV 2018.  Steps that touch nothing
that other calls touch need no priority: they go at once, together with the step before.

A race of depth 2 comes about in every order in which a step a comes before a step b, and c before d, each pair being
of two calls (Burckhardt, Kothari, Musuvathi and Nagarakatte, "A Randomized Scheduler with Probabilistic Guarantees of
Finding Bugs", ASPLOS 2010).  `chance` is a lower bound for it, as long as no call waits for a lock of another:

Let A be the steps of a's call up to a, and C those of c's call up to c.  If b has a lower priority than all of A, then
a comes first: whenever b could go, one of A can go as well, and does.  The same holds for d and C.  So it is enough,

- if b is d, that it is the lowest of A, C and b: that happens once in |A + C| + 1 times;
- if d is in A, that b is the lowest of A, C and b, and d the lowest of C and d.  Neither tells anything of the other:
  that happens once in (|A + C| + 1) (|C| + 1) times.  It is the same if b is in C; both cannot be, which is a circle;
- in all other cases, that b is the lowest of A and b, and d the lowest of C and d.  If A and C share steps, each makes
  the other only more likely (Harris's inequality): at least once in (|A| + 1) (|C| + 1) times.

With m and n steps in the two calls that have the most, none of this is less than 1 in (m + 1) (m + n + 1).

Where a call waits for a lock, nothing of that holds: b's call may have the lock that A waits for, and then b goes
first, whatever its priority.  Which call gets a lock first is one more pair of steps, and nobody knows how many of
these a race needs.  Then `chance_of_delays` is told instead, of races that come about whenever two certain steps are
put off as long as another call can go on (a delay is what Burckhardt et al. mean by depth, too).  It is enough that
these two have the lowest priorities of all, one below the other: a call that waits is no candidate, and all others go
first.  With N steps in all calls together that happens once in N (N - 1) times.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from heapq import nlargest

from .standings import Request, Standing, request


@dataclass(frozen=True)
class Draw:
    """One order drawn at random: the same for the same attributes.

    Attributes:
        seed: Of all draws.
        number: Of this one.
        private: What each call asks for that was only ever seen to touch what no other call touches.
    """

    seed: int
    number: int
    private: frozenset[tuple[int, Request]]


@dataclass
class Lots:
    """Says who goes next in an order that is drawn.

    Attributes:
        drawn: How many steps of each call had a priority.
        has_waited: A call has waited for a lock.
    """

    draw: Draw
    drawn: Counter[int] = field(default_factory=Counter)
    has_waited: bool = False

    def pick(self, candidates: Sequence[int], standings: Mapping[int, Standing], taken: Sequence[int]) -> int:
        """Choose one of the candidates.

        Args:
            taken: The choices so far, those that only had a call begin among them.
        """
        last = taken[-1] if taken else None
        self.has_waited = self.has_waited or any(standing.blocked for standing in standings.values())
        at_once = [call for call in candidates if self._goes_at_once(call, standings[call], taken)]
        if at_once:
            return last if last in at_once else at_once[0]
        chosen = max(candidates, key=lambda call: self._priority(call, taken.count(call)))
        self.drawn[chosen] += 1
        return chosen

    def _goes_at_once(self, call: int, standing: Standing, taken: Sequence[int]) -> bool:
        """Whether it has only begun, which is one with its first step, or nobody else can notice what it does."""
        if standing.is_idle:
            return False
        return taken.count(call) == 1 or (call, request(standing.operation)) in self.draw.private

    def _priority(self, call: int, step: int) -> bytes:
        return blake2b(f"{self.draw.seed} {self.draw.number} {call} {step}".encode(), digest_size=8).digest()


def chance(sizes: Mapping[int, int], draws: int) -> float:
    """How likely so many draws meet a race of depth 2, at least.

    Args:
        sizes: The most steps with a priority that each call has had.
    """
    most, more = (*nlargest(2, sizes.values()), 0, 0)[:2]
    return 1 - (1 - 1 / ((most + 1) * (most + more + 1))) ** draws


def chance_of_delays(sizes: Mapping[int, int], draws: int) -> float:
    """How likely so many draws put off any two steps as long as another call can go on, at least.

    Args:
        sizes: The most steps with a priority that each call has had.
    """
    steps = max(2, sum(sizes.values()))
    return 1 - (1 - 1 / (steps * (steps - 1))) ** draws
