"""Who waits for whose lock while calls run freely: the databases are asked again and again."""

from __future__ import annotations

import contextlib
import threading
import warnings
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .. import _clock as time
from .. import _pickling
from ..exceptions import ProbeNotPermittedError
from .handoff import database_identity
from .probes import open_probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Self

    from .._trace import Step
    from .probes import Probe

_PAUSE = 0.002  # seconds between two looks
_OPENING = 5.0  # seconds for connecting
_ENDING = 5.0  # seconds for the last look

_read = lru_cache(maxsize=1024)(_pickling.loads)

Session = tuple[str, int]  # the `Operation.database`, and what its server calls the connection


@dataclass
class Wait:
    """A wait for a lock, as it was seen: first, last, and no more."""

    session: Session
    begun: float
    seen: float
    ended: float
    waited_for: set[Session] = field(default_factory=set)


class Watch:
    """Looks at the sessions of a race from a thread of its own, in a `with` block.

    Args:
        settings: Of the databases, by alias, as in Django's DATABASES.
        in_use: The aliases of those that the calls will probably use.
        announced: Tells the sessions there are so far, each a pickled (alias, session).

    Attributes:
        waits: What was seen, when the block is left.
    """

    def __init__(
        self,
        settings: Mapping[str, Mapping[str, Any]],
        in_use: Iterable[str],
        announced: Callable[[], Iterable[bytes]],
    ) -> None:
        self._settings = settings
        self._in_use = in_use
        self._ready = threading.Event()
        self._announced = announced
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="aioconcurrent-waits", daemon=True)
        self._probes: dict[str, Probe | None] = {}
        self._problems: list[Exception] = []
        self._open: dict[Session, Wait] = {}
        self.waits: list[Wait] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(_ENDING)
        for problem in self._problems:
            text = f"No waits for locks are recorded on one database: {type(problem).__name__}: {problem}"
            warnings.warn(text, RuntimeWarning, stacklevel=4)

    def wait_until_ready(self) -> None:
        """Wait until the databases in use can be asked."""
        self._ready.wait(_OPENING)

    def _look(self) -> None:
        try:
            for alias in self._in_use:
                with contextlib.suppress(Exception):  # if a call does connect to it, it is tried again
                    self._probes[alias] = open_probe(alias, self._settings[alias])
            self._ready.set()
            while not self._over.wait(_PAUSE):
                for alias, sessions in self._sessions().items():
                    self._look_at(alias, sessions)
        finally:
            for probe in self._probes.values():
                if probe is not None:
                    probe.close()

    def _sessions(self) -> dict[str, set[int]]:
        found: dict[str, set[int]] = {}
        for announced in list(self._announced()):
            alias, session = _read(announced)
            if session is not None:
                found.setdefault(alias, set()).add(session)
        return found

    def _look_at(self, alias: str, sessions: set[int]) -> None:
        asked = time.monotonic()
        try:
            if alias not in self._probes:
                self._probes[alias] = None
                self._probes[alias] = open_probe(alias, self._settings[alias])
            probe = self._probes[alias]
            waiting = probe.waiting(sessions) if probe is not None else {}
        except ProbeNotPermittedError as problem:
            self._probes[alias] = None
            self._problems.append(problem)
            return
        except Exception:  # the test may not connect, or the server is gone: fewer waits to tell of
            self._probes[alias] = None
            return
        database = database_identity(self._settings[alias])
        for number in sessions:
            if number in waiting:
                others = {(database, other) for other in waiting[number]}
                self._note((database, number), others, asked, time.monotonic())
            elif (wait := self._open.pop((database, number), None)) is not None:
                wait.ended = asked

    def _note(self, session: Session, others: set[Session], asked: float, answered: float) -> None:
        wait = self._open.get(session)
        if wait is None:
            wait = self._open[session] = Wait(session, begun=asked, seen=answered, ended=answered)
            self.waits.append(wait)
        else:
            wait.seen, wait.ended = asked, answered
        wait.waited_for |= others


def with_waits(calls: Sequence[Sequence[Step]], waits: Sequence[Wait]) -> list[tuple[Step, ...]]:
    """Tell each step of each call for how long it waited, and for which calls."""
    whose = {_session(step): step.call for steps in calls for step in steps}
    return [tuple(_with_wait(step, waits, whose) for step in steps) for steps in calls]


def _with_wait(step: Step, waits: Sequence[Wait], whose: Mapping[tuple[str, int | None], int]) -> Step:
    waited, others = 0.0, set()
    for wait in waits:
        if wait.session == _session(step) and step.started <= wait.seen and not _is_over(step, wait.begun):
            ended = wait.ended if step.ended is None else min(step.ended, wait.ended)
            waited += max(ended - max(step.started, wait.begun), 0.0)
            others |= {whose[other] for other in wait.waited_for if other in whose}
    return replace(step, waited=waited, waited_for=frozenset(others)) if waited else step


def _is_over(step: Step, time: float) -> bool:
    return step.ended is not None and step.ended < time


def _session(step: Step) -> tuple[str, int | None]:
    return step.operation.database, step.session
