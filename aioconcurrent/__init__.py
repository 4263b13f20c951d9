"""Test Django code for race conditions, in real processes.

The functions here are awaitable, on asyncio and trio; `aioconcurrent.sync` has
the same names, blocking.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._api import call_concurrently, explore, make_concurrent_calls, replay
    from ._exploration import Counterexample, Exploration, InconclusiveError, RaceFound, Remedy
    from ._options import options, override_environment
    from ._outcomes import CallReport, Outcomes
    from ._step import step
    from ._trace import RecordedStep
    from .exceptions import (
        AioconcurrentError,
        DatabaseInMemoryChangedError,
        DatabaseInMemoryLockedError,
        NetworkError,
        NoConnectionLeftError,
        NotATestDatabaseError,
        NoTerminalError,
        PatchError,
        PooledSessionError,
        ProbeNotPermittedError,
        ProcessDiedError,
        RealDatabaseError,
        RemoteError,
        RowsLeftWarning,
        StateError,
        TemplateWarning,
        TerminatedProcessError,
        TokenError,
        UncommittedDataError,
        UnexplorableDatabaseError,
        UnpicklableError,
        UnreadResultWarning,
        WrappedError,
    )
else:
    from importlib import import_module

    _HOMES = {  # of all that is not in `exceptions`
        "CallReport": "_outcomes",
        "Counterexample": "_exploration",
        "Exploration": "_exploration",
        "InconclusiveError": "_exploration",
        "Outcomes": "_outcomes",
        "RaceFound": "_exploration",
        "Remedy": "_exploration",
        "RecordedStep": "_trace",
        "call_concurrently": "_api",
        "explore": "_api",
        "make_concurrent_calls": "_api",
        "options": "_options",
        "override_environment": "_options",
        "replay": "_api",
        "step": "_step",
    }

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used, for every run of pytest imports this package for its plugin."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = import_module(f".{_HOMES.get(name, 'exceptions')}", __name__)
        value = globals()[name] = getattr(home, name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [
    "AioconcurrentError",
    "CallReport",
    "Counterexample",
    "DatabaseInMemoryChangedError",
    "DatabaseInMemoryLockedError",
    "Exploration",
    "InconclusiveError",
    "NetworkError",
    "NoConnectionLeftError",
    "NoTerminalError",
    "NotATestDatabaseError",
    "Outcomes",
    "PatchError",
    "PooledSessionError",
    "ProbeNotPermittedError",
    "ProcessDiedError",
    "RaceFound",
    "RealDatabaseError",
    "RecordedStep",
    "Remedy",
    "RemoteError",
    "RowsLeftWarning",
    "StateError",
    "TemplateWarning",
    "TerminatedProcessError",
    "TokenError",
    "UncommittedDataError",
    "UnexplorableDatabaseError",
    "UnpicklableError",
    "UnreadResultWarning",
    "WrappedError",
    "call_concurrently",
    "explore",
    "make_concurrent_calls",
    "options",
    "override_environment",
    "replay",
    "step",
]
