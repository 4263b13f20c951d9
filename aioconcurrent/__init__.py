"""Test Django code for race conditions, in real processes.

The functions here are awaitable, on asyncio and trio; `aioconcurrent.sync` has
the same names, blocking.
"""

from ._api import call_concurrently, explore, make_concurrent_calls, replay
from ._options import options, override_environment
from ._outcomes import CallReport, Outcomes
from ._recorded import RecordedStep
from ._step import step
from .exceptions import (
    AioconcurrentError,
    NotATestDatabaseError,
    ProcessDiedError,
    RemoteError,
    TemplateWarning,
    TerminatedProcessError,
    TokenError,
    UncommittedDataError,
    UnpicklableError,
    WrappedError,
)
from .exploring.exploration import Counterexample, Exploration, InconclusiveError, RaceFound

__all__ = [
    "AioconcurrentError",
    "CallReport",
    "Counterexample",
    "Exploration",
    "InconclusiveError",
    "NotATestDatabaseError",
    "Outcomes",
    "ProcessDiedError",
    "RaceFound",
    "RecordedStep",
    "RemoteError",
    "TemplateWarning",
    "TerminatedProcessError",
    "TokenError",
    "UncommittedDataError",
    "UnpicklableError",
    "WrappedError",
    "call_concurrently",
    "explore",
    "make_concurrent_calls",
    "options",
    "override_environment",
    "replay",
    "step",
]
