"""The threads that starting a project leaves in the template, and which of them survive a fork.

A fork has only the forking thread.  A lock that another thread held at that moment stays
locked for ever.  So a template forks only if its other threads are known to cope with that:
they start anew in a fork, with new locks.

Most such threads belong to agents that watch an application in production.  Tests do not
need them, so they are switched off where the project starts, by their documented settings.
A project that starts them all the same is told.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..base import own_clock as time

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# of OpenTelemetry, ddtrace, New Relic and Elastic APM; and of the libraries under numpy, which start a
# thread for each processor when they are loaded
QUIET = {
    "OTEL_SDK_DISABLED": "true",
    "OTEL_TRACES_EXPORTER": "none",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
    "DD_TRACE_ENABLED": "false",
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
    "DD_DYNAMIC_INSTRUMENTATION_ENABLED": "false",
    "DD_SYMBOL_DATABASE_UPLOAD_ENABLED": "false",
    "DD_CRASHTRACKING_ENABLED": "false",
    "DD_PROFILING_ENABLED": "false",
    "DD_RUNTIME_METRICS_ENABLED": "false",
    "NEW_RELIC_ENABLED": "false",
    "NEW_RELIC_MONITOR_MODE": "false",
    "ELASTIC_APM_ENABLED": "false",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}

# Modules whose threads a fork survives: the first three begin anew in a fork (`os.register_at_fork`, or a look at
# the process id), and the last answers requests with locks that it holds only while somebody asks for metrics.
_FORK_SAFE = ("opentelemetry.sdk.*", "sentry_sdk.*", "ddtrace.*", "prometheus_client.*")
# The same for threads that Python does not know, by the module that has them and what the kernel calls them.
_FORK_SAFE_NATIVE = {
    "ddtrace": (
        "tokio-rt-worker",
        "ThreadRestart*",
        "SignalUploader",
        "_Telemetry*",
        "RemoteConfig*",
        "NativeWriter",
        "AgentWriter",
        "RuntimeWorker",
        "DataStreams*",
    ),
}
_SETTLING = 0.1  # seconds for such threads to be named, or idle
_WAITING = {"wait", "select", "poll", "get", "join"}

_started_at: dict[int, str] = {}  # by the identity of a thread: where in the code


@contextmanager
def quiet() -> Iterator[None]:
    """Have agents switched off in the block, and an environment as before afterwards."""
    before = {name: os.environ.get(name) for name in QUIET}
    os.environ.update(QUIET)
    start = threading.Thread.start

    def noted_start(thread: threading.Thread) -> None:
        _started_at[id(thread)] = _place()
        start(thread)

    threading.Thread.start = noted_start  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        threading.Thread.start = start  # type: ignore[method-assign]
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def dangerous(allowed: Sequence[str] = ()) -> list[str]:
    """Describe each thread, beside this one, that a fork may not survive.

    Args:
        allowed: Patterns of the names and modules of more that it does survive.
    """
    found = [_described(thread) for thread in _others() if not _is_safe(thread, allowed)]
    deadline = time.monotonic() + _SETTLING
    while native := [name for name in _native() if not _is_safe_native(name, allowed)]:
        if time.monotonic() > deadline:  # till then it may be one that has not named itself yet
            break
        time.sleep(0.005)
    return found + [f"{name!r} (not of Python)" for name in native]


def advice() -> str:
    """What can be done about dangerous threads."""
    if "_pydevd_bundle" in sys.modules:  # the core of debugpy, whose threads hide from Python
        return (
            "They are those of a debugger that follows the tests into new processes: set "
            '"subProcess": false in its configuration (launch.json).'
        )
    return (
        "Do not start them in tests; or, where a fork without them does no harm, allow them by name, as in "
        "options(allow_threads=[...])."
    )


def settle() -> None:
    """Wait a moment for other threads to wait themselves: what a busy one holds, a fork would have for ever."""
    deadline = time.monotonic() + _SETTLING
    while not all(map(_is_idle, _others())) and time.monotonic() < deadline:
        time.sleep(0.001)


def count() -> int:
    """How many threads this process has, those that Python does not know too."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return threading.active_count()


def _others() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread is not threading.main_thread()]


def _native() -> list[str]:
    """What the kernel calls the threads that Python does not know."""
    known = {os.getpid(), *(thread.native_id for thread in _others())}  # a fork does not note its own new number
    names = []
    for task in Path("/proc/self/task").glob("*"):
        if int(task.name) not in known:
            try:
                names.append((task / "comm").read_text().strip())
            except OSError:  # it has ended meanwhile
                continue
    return names


def _is_safe(thread: threading.Thread, allowed: Sequence[str]) -> bool:
    owner = _owner(thread)
    return any(fnmatch(owner, pattern) for pattern in _FORK_SAFE) or any(
        fnmatch(text, pattern) for text in (thread.name, owner) for pattern in allowed
    )


def _is_safe_native(name: str, allowed: Sequence[str]) -> bool:
    known = [each for module, patterns in _FORK_SAFE_NATIVE.items() if module in sys.modules for each in patterns]
    return any(fnmatch(name, pattern) for pattern in (*known, *allowed))


def _described(thread: threading.Thread) -> str:
    started_at = _started_at.get(id(thread))
    return f"{thread.name!r} (of {_owner(thread)}{f', started in {started_at}' if started_at else ''})"


def _owner(thread: threading.Thread) -> str:
    """The module of what runs in it."""
    if type(thread).__module__ != "threading":
        return type(thread).__module__
    target: Any = getattr(thread, "_target", None) or getattr(thread, "function", None)
    while isinstance(target, partial):
        target = target.func
    bound = getattr(target, "__self__", None)
    if bound is not None and not isinstance(bound, ModuleType):
        return type(bound).__module__
    return getattr(target, "__module__", None) or "a module unknown"


def _place() -> str:
    """The line of code outside of the library of threads that is running."""
    frame: Any = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename == threading.__file__:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _is_idle(thread: threading.Thread) -> bool:
    frame = sys._current_frames().get(thread.ident or 0)
    return frame is None or frame.f_code.co_name in _WAITING
