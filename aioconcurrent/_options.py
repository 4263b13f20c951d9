"""What can be set about races, and where it can be set.

`options(...)` comes before the command line of the test runner, that before the
environment, that before the runner's configuration file, that before the Django
setting `AIOCONCURRENT`, and that before the defaults.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Collection
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from ._calls import Target, check_target
from ._decorating import decorated
from ._project import uses_django
from ._signatures import meant, naming_unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

F = TypeVar("F", bound="Callable[..., Any]")

START_METHODS = ("fork", "spawn", "inline")
_UNSET: Any = object()
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


@dataclass(frozen=True, slots=True)
class Options:
    """How races are run.

    Attributes:
        timeout: How long a call may take, in seconds from the common start.
        start_method: "fork", "spawn" or "inline".
        prepare: What every wrapper runs before the barrier.
        allow_real_databases: Whether calls may connect to what is no test database.
        allow_network: Which public addresses of the network calls may reach: all, none, or these.
        record: Whether races record what their calls do.
        max_schedules: How many runs of the calls an exploration may make.
        max_seconds: How long an exploration may take.
        real_time: Whether calls that are explored have the real clock and real randomness.
        allow_threads: Patterns of the names or modules of threads that starting the project may leave running.
        start_timeout: How long starting the project may take, in seconds.
        step_timeout: How long one step of an exploration may take, in seconds; None for 10 s, or `timeout`
            if that is less.
        replay: The token of the one order that explorations run; for a run of tests, not for `options`.
    """

    timeout: float = 30.0
    start_method: str = "fork" if sys.platform == "linux" else "spawn"
    prepare: Target | None = None
    allow_real_databases: bool = False
    allow_network: bool | Collection[str] = False
    record: bool = False
    max_schedules: int = 1000
    max_seconds: float = 60.0
    real_time: bool = False
    allow_threads: Sequence[str] = ()
    start_timeout: float = 120.0
    step_timeout: float | None = None
    replay: str | None = None

    @property
    def start_up(self) -> float:
        """How long it may take until all calls are ready to start, once the project has, in seconds."""
        return max(self.timeout, 30.0)

    @property
    def step_limit(self) -> float:
        """How long one step of an exploration may take, in seconds."""
        return min(self.timeout, 10.0) if self.step_timeout is None else self.step_timeout


_chosen: ContextVar[Mapping[str, Any]] = ContextVar("aioconcurrent options", default={})  # noqa: B039 - never changed in place
_of_run: list[Mapping[str, Any]] = [{}, {}]  # from the runner's configuration file and command line


class options:  # noqa: N801 - used like a function
    """Set options for the races in a `with` block, in a decorated function, or in the tests of a decorated class.

    Args:
        timeout: How long a call may take, in seconds from the common start, before
            its process group is terminated; getting ready has 30 s, or `timeout` if
            that is longer.
        start_method: "fork" (each call in a fork of one process that has started
            the project; the default on Linux), "spawn" (each call in an
            interpreter of its own; the default elsewhere), or "inline" (for
            debugging: one call after another in this very process).
        prepare: A function without arguments, or "package.module:function", that
            every process runs before the common start: the place for mocks and
            frozen clocks.
        allow_real_databases: Let calls connect to what is no test database.
        allow_network: Let calls reach public addresses of the network: True for all, or a
            list of names, addresses and networks.  Private addresses, and what the project's
            databases and caches are, are open anyway.  Not with "inline", which has no processes.
        record: Record each database round trip, cache operation and `step()` of the
            calls of a race with its times, for `Outcomes.lanes()` and
            `CallReport.steps`; each takes some 0.03 ms longer.  Not with "inline".
        max_schedules: How many runs of the calls an exploration may make.
        max_seconds: How long an exploration may take.
        real_time: Let calls that are explored have the clock that runs, and randomness without a
            seed.  By default their wall clock stands at the moment at which `explore` was
            called, 10 ms further with each call, and all they draw is seeded, so that two runs
            of one order end alike.
        allow_threads: Patterns, as "heartbeat*", of the names or modules of threads
            that starting the project may leave running where its processes are forked.
            Allow what a fork survives: it has no such thread, but all locks that the
            thread held.  OpenTelemetry's, Sentry's, ddtrace's and prometheus_client's
            are known to be harmless.
        start_timeout: How long starting the project may take, in seconds.
        step_timeout: How long one step of an exploration may take, in seconds; by
            default 10, or `timeout` if that is less.

    Raises:
        TypeError: A value has the wrong type.
        ValueError: A value is out of range.
    """

    @naming_unknown()
    def __init__(
        self,
        *,
        timeout: float = _UNSET,
        start_method: str = _UNSET,
        prepare: Target | None = _UNSET,
        allow_real_databases: bool = _UNSET,
        allow_network: bool | Collection[str] = _UNSET,
        record: bool = _UNSET,
        max_schedules: int = _UNSET,
        max_seconds: float = _UNSET,
        real_time: bool = _UNSET,
        allow_threads: Sequence[str] = _UNSET,
        start_timeout: float = _UNSET,
        step_timeout: float = _UNSET,
    ) -> None:
        given = {
            "timeout": timeout,
            "start_method": start_method,
            "prepare": prepare,
            "allow_real_databases": allow_real_databases,
            "allow_network": allow_network,
            "record": record,
            "max_schedules": max_schedules,
            "max_seconds": max_seconds,
            "real_time": real_time,
            "allow_threads": allow_threads,
            "start_timeout": start_timeout,
            "step_timeout": step_timeout,
        }
        self._given = {name: value for name, value in given.items() if value is not _UNSET}
        check(self._given, "options()")
        self._outer: list[Mapping[str, Any]] = []

    def __enter__(self) -> Self:
        self._outer.append(_chosen.get())
        _chosen.set({**_chosen.get(), **self._given})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _chosen.set(self._outer.pop())

    def __call__(self, function: F) -> F:
        """Decorate a function, of any kind, or the tests of a class: each of their runs has these options.

        A generator has them while it runs, and not while it waits at a `yield`.

        Raises:
            TypeError: It is nothing that could be decorated.
        """
        given: dict[str, Any] = self._given
        return decorated(function, functools.partial(options, **given))


def current_options() -> Options:
    """Return the options in force here.

    Raises:
        TypeError: A value in the environment or in the Django setting has the wrong type.
        ValueError: One is out of range, or there is no such option.
    """
    from_settings, from_environment = _from_settings(), _from_environment()
    check(from_settings, "The setting AIOCONCURRENT")
    check(from_environment, "The environment (AIOCONCURRENT_...)")
    from_file, from_command_line = _of_run
    return replace(
        Options(), **{**from_settings, **from_file, **from_environment, **from_command_line, **_chosen.get()}
    )


def set_for_run(from_file: Mapping[str, Any], from_command_line: Mapping[str, Any]) -> None:
    """Set what a test runner was given, once it is checked, until this is called again."""
    _of_run[:] = [from_file, from_command_line]


@contextmanager
def override_environment(**variables: str | None) -> Iterator[None]:
    """Set environment variables for a block, and so for the calls in it; None unsets one.

    Raises:
        TypeError: A value is neither a string nor None.
    """
    for name, value in variables.items():
        if not isinstance(value, str | None):
            raise TypeError(f"The environment variable {name} must be a string or None, not {value!r}.")
    before = {name: os.environ.get(name) for name in variables}
    try:
        _set_environment(variables)
        yield
    finally:
        _set_environment(before)


def _set_environment(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _from_settings() -> dict[str, Any]:
    from django.conf import settings

    value = getattr(settings, "AIOCONCURRENT", {}) if uses_django() else {}
    if not isinstance(value, dict):
        raise TypeError(f"The setting AIOCONCURRENT must be a dict of options, not {value!r}.")
    return value


def _from_environment() -> dict[str, Any]:
    readers: dict[str, Callable[[str, str], Any]] = {
        "timeout": _read_number,
        "max_seconds": _read_number,
        "start_timeout": _read_number,
        "step_timeout": _read_number,
        "allow_threads": lambda _, text: [part.strip() for part in text.split(",")],
        "max_schedules": _read_count,
        "allow_real_databases": _read_flag,
        "allow_network": _read_hosts,
        "record": _read_flag,
        "real_time": _read_flag,
    }
    given: dict[str, Any] = {}
    for field in fields(Options):
        variable = f"AIOCONCURRENT_{field.name.upper()}"
        if text := os.environ.get(variable):
            given[field.name] = readers[field.name](variable, text) if field.name in readers else text
    return given


def _read_number(variable: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{variable} must be a number of seconds, not {text!r}.") from None


def _read_count(variable: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{variable} must be a whole number, not {text!r}.") from None


def _read_flag(variable: str, text: str) -> bool:
    if text.lower() not in _TRUE + _FALSE:
        raise ValueError(f"{variable} must be 1 or 0, not {text!r}.")
    return text.lower() in _TRUE


def _read_hosts(variable: str, text: str) -> bool | list[str]:
    if text.lower() in _TRUE + _FALSE:
        return _read_flag(variable, text)
    return [host.strip() for host in text.split(",")]


def check(given: Mapping[str, Any], where: str) -> None:
    """Check options by name; the text of an error begins with `where`.

    Raises:
        TypeError: A value has the wrong type.
        ValueError: One is out of range, or there is no such option.
    """
    names = [field.name for field in fields(Options)]
    for name, value in given.items():
        if name not in names:
            raise ValueError(f"{where} has no option {name!r}; there are {', '.join(names)}{meant(name, names)}.")
        _CHECKS[name](value, where)


def _check_seconds(name: str, value: object, where: str) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{where}: {name} must be a number of seconds, not {value!r}.")
    if not 0 < value < float("inf"):
        raise ValueError(f"{where}: {name} must be more than 0 seconds and finite, not {value!r}.")


def _check_max_schedules(value: object, where: str) -> None:
    if type(value) is not int:
        raise TypeError(f"{where}: max_schedules must be a whole number, not {value!r}.")
    if value < 1:
        raise ValueError(f"{where}: max_schedules must be at least 1, not {value!r}.")


def _check_start_method(value: object, where: str) -> None:
    if value not in START_METHODS:
        raise ValueError(f"{where}: start_method must be one of {', '.join(START_METHODS)}, not {value!r}.")
    if value == "fork" and not hasattr(os, "fork"):
        raise ValueError(f"{where}: start_method 'fork' does not exist on this system; use 'spawn'.")


def _check_prepare(value: object, where: str) -> None:
    if value is not None:
        check_target(value, f"{where}: prepare")
    if inspect.iscoroutinefunction(value):
        raise TypeError(f"{where}: prepare must be a plain function, not the coroutine function {value!r}.")


def _check_patterns(value: object, where: str) -> None:
    if not isinstance(value, list | tuple) or not all(isinstance(part, str) for part in value):
        raise TypeError(f"{where}: allow_threads must be a list of strings, not {value!r}.")


def _check_flag(name: str, value: object, where: str) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{where}: {name} must be True or False, not {value!r}.")


def _check_allow_network(value: object, where: str) -> None:
    if isinstance(value, bool):
        return
    if isinstance(value, str) or not (isinstance(value, Collection) and all(isinstance(host, str) for host in value)):
        raise TypeError(f"{where}: allow_network must be True, False or a list of names and addresses, not {value!r}.")


def _check_replay(value: object, where: str) -> None:
    from .exploring.schedule import Schedule

    if not isinstance(value, str):
        raise TypeError(f"{where}: replay must be the token of a counterexample, not {value!r}.")
    Schedule.from_token(value)


_CHECKS: Mapping[str, Callable[[object, str], None]] = {
    "timeout": functools.partial(_check_seconds, "timeout"),
    "max_seconds": functools.partial(_check_seconds, "max_seconds"),
    "start_timeout": functools.partial(_check_seconds, "start_timeout"),
    "step_timeout": functools.partial(_check_seconds, "step_timeout"),
    "allow_threads": _check_patterns,
    "max_schedules": _check_max_schedules,
    "start_method": _check_start_method,
    "prepare": _check_prepare,
    "allow_network": _check_allow_network,
    "allow_real_databases": functools.partial(_check_flag, "allow_real_databases"),
    "record": functools.partial(_check_flag, "record"),
    "real_time": functools.partial(_check_flag, "real_time"),
    "replay": _check_replay,
}
