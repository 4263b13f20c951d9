"""Random small programs for two or three calls, the same for the same seed."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from tests.project.office.programs import THEMES, Block, Operation, Program, Shown

_EVERYTHING = [verb for theme in THEMES for verb in theme]
_NAMES = "abc"


@dataclass(frozen=True)
class Trial:
    """Programs to run at once.

    Attributes:
        programs: One for each call.
        names: How each call signs.
        shown: What the calls return of what they saw.
    """

    programs: tuple[Program, ...]
    names: tuple[str, ...]
    shown: Shown

    def arguments(self, using: str) -> list[dict[str, object]]:
        """The arguments of each call of `programs.run`."""
        return [
            {"program": program, "name": name, "using": using, "shown": self.shown}
            for program, name in zip(self.programs, self.names, strict=True)
        ]

    def __str__(self) -> str:
        told = "\n".join(f"    {name}: {program}" for name, program in zip(self.names, self.programs, strict=True))
        return f"shows {self.shown} of what it saw\n{told}"


def made_up(seed: int) -> Trial:
    """Calls that mostly work on the same; now and then they are equal."""
    random = Random(seed)
    theme = random.choice(THEMES)
    calls = random.choice((2, 2, 2, 3))
    shown: Shown = random.choice(("everything", "last", "nothing"))

    def operation() -> Operation:
        return random.choice(theme if random.random() < 0.9 else _EVERYTHING), random.choice((1, 1, 1, 2))

    def block(length: int, depth: int = 0) -> Block:
        atomic = depth > 0 or random.random() < 0.5
        parts: list[Operation | Block] = [operation() for _ in range(length)]
        if atomic and depth == 0 and random.random() < 0.25:
            parts[random.randrange(length)] = block(1, depth + 1)
        return Block(tuple(parts), atomic, random.choice(("raise", "raise", "catch", "retry" if atomic else "raise")))

    def program() -> Program:
        sizes = random.choice(((1,), (2,), (1, 1), (2, 1)) if calls == 2 else ((1,), (1,), (2,)))
        return tuple(block(size) for size in sizes)

    if random.random() < 0.3:
        return Trial((program(),) * calls, (_NAMES[0],) * calls, shown)
    return Trial(tuple(program() for _ in range(calls)), tuple(_NAMES[:calls]), shown)
