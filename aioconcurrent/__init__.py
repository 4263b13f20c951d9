"""Test Django code for race conditions, in real processes.

The functions here are awaitable, on asyncio and trio; `aioconcurrent.sync` has
the same names, blocking.
"""

from ._api import call_concurrently, make_concurrent_calls
from ._options import options, override_environment
from ._outcomes import CallReport, Outcomes
from ._step import step
from .exceptions import (
    AioconcurrentError,
    NotATestDatabaseError,
    ProcessDiedError,
    RemoteError,
    TemplateWarning,
    TerminatedProcessError,
    UncommittedDataError,
    UnpicklableError,
    WrappedError,
)

__all__ = [
    "AioconcurrentError",
    "CallReport",
    "NotATestDatabaseError",
    "Outcomes",
    "ProcessDiedError",
    "RemoteError",
    "TemplateWarning",
    "TerminatedProcessError",
    "UncommittedDataError",
    "UnpicklableError",
    "WrappedError",
    "call_concurrently",
    "make_concurrent_calls",
    "options",
    "override_environment",
    "step",
]
