"""The options, and where each can be set.

In order of precedence: `options(...)`, the command line of the test runner, the environment,
the runner's configuration file, the Django setting `AIOCONCURRENT`, the defaults.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Collection
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from .._text import meant, naming_unknown
from .decorating import decorated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from ..base.calls import Target


class Client(Protocol):
    """What is taken for a `distributed.Client`, which need not be installed."""

    @property
    def status(self) -> str: ...

    def nthreads(self, workers: Any = None) -> Any: ...


F = TypeVar("F", bound="Callable[..., Any]")

EDITORS = {  # and the addresses by which they open a file
    "vscode": "vscode://file/{file}:{line}",
    "pycharm": "pycharm://open?file={file}&line={line}",
}
AUTO = "auto"
QUEUES = ("django_q_ormq", "procrastinate_jobs", "*_dbtaskresult", "background_task")
START_METHODS = ("fork", "spawn", "inline")
SAMPLE = "sample"
FRESH, REUSED = "fresh", "reused"
_UNSET: Any = ...
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


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


def _read_workers(variable: str, text: str) -> int | str:
    return text if text == AUTO or _is_address(text) else _read_count(variable, text)


def _is_address(value: object) -> bool:
    """Whether it is the address of a scheduler of dask."""
    return isinstance(value, str) and "://" in value


def _is_client(value: object) -> bool:
    """Whether it is a client of dask."""
    distributed = sys.modules.get("distributed")
    return distributed is not None and isinstance(value, distributed.Client)


def _read_flag(variable: str, text: str) -> bool:
    if text.lower() not in _TRUE + _FALSE:
        raise ValueError(f"{variable} must be 1 or 0, not {text!r}.")
    return text.lower() in _TRUE


def _read_hosts(variable: str, text: str) -> bool | list[str]:
    if text.lower() in _TRUE + _FALSE:
        return _read_flag(variable, text)
    return [host.strip() for host in text.split(",")]


def _check_seconds(name: str, value: object, where: str) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{where}: {name} must be a number of seconds, not {value!r}.")
    if not 0 < value < float("inf"):
        raise ValueError(f"{where}: {name} must be more than 0 seconds and finite, not {value!r}.")


def _check_number(name: str, value: object, where: str) -> int:
    if type(value) is not int:
        raise TypeError(f"{where}: {name} must be a whole number, not {value!r}.")
    return value


def _check_count(name: str, value: object, where: str) -> None:
    if _check_number(name, value, where) < 1:
        raise ValueError(f"{where}: {name} must be at least 1, not {value!r}.")


def _check_workers(name: str, value: object, where: str) -> None:
    if _is_address(value):
        return
    if _is_client(value):
        if getattr(value, "asynchronous", False):
            raise ValueError(f"{where}: {name} must be a client that is not asynchronous, or the scheduler's address.")
        return
    if isinstance(value, str) and value != AUTO:
        raise ValueError(
            f"{where}: {name} must be a whole number, {AUTO!r}, or the address of a scheduler of dask, not {value!r}."
        )
    if value != AUTO:
        _check_count(name, value, where)


def _one_of(*known: str) -> Callable[[str, object, str], None]:
    def check_choice(name: str, value: object, where: str) -> None:
        if value not in known:
            raise ValueError(f"{where}: {name} must be one of {', '.join(known)}, not {value!r}.")

    return check_choice


def _check_start_method(name: str, value: object, where: str) -> None:
    _one_of(*START_METHODS)(name, value, where)
    if value == "fork" and not hasattr(os, "fork"):
        raise ValueError(f"{where}: {name} 'fork' does not exist on this system; use 'spawn'.")


def _check_prepare(name: str, value: object, where: str) -> None:
    if value is not None:
        from ..base.calls import check_target

        check_target(value, f"{where}: {name}")
    if inspect.iscoroutinefunction(value):
        raise TypeError(f"{where}: {name} must be a plain function, not the coroutine function {value!r}.")


def _check_patterns(name: str, value: object, where: str) -> None:
    if not isinstance(value, list | tuple) or not all(isinstance(part, str) for part in value):
        raise TypeError(f"{where}: {name} must be a list of strings, not {value!r}.")


def _check_flag(name: str, value: object, where: str) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{where}: {name} must be True or False, not {value!r}.")


def _check_allow_network(name: str, value: object, where: str) -> None:
    if isinstance(value, bool):
        return
    if isinstance(value, str) or not (isinstance(value, Collection) and all(isinstance(host, str) for host in value)):
        raise TypeError(f"{where}: {name} must be True, False or a list of names and addresses, not {value!r}.")


def _check_replay(name: str, value: object, where: str) -> None:
    from ..exploring.orders.schedule import Schedule

    if not isinstance(value, str):
        raise TypeError(f"{where}: {name} must be the token of a counterexample, not {value!r}.")
    Schedule.from_token(value)


def _check_editor(name: str, value: object, where: str) -> None:
    is_known = isinstance(value, str) and (value in EDITORS or ("://" in value and "{file}" in value))
    if value is not None and not is_known:
        raise ValueError(
            f"{where}: {name} must be one of {', '.join(EDITORS)}, or an address such as "
            f"{EDITORS['vscode']!r}, not {value!r}."
        )


class _Kind(NamedTuple):
    """Which values an option may have.

    Attributes:
        check: Raises TypeError or ValueError for a bad value of the option of this name; the text begins with `where`.
        read: Makes a value of the text of an environment variable, whose name it gets first.
    """

    check: Callable[[str, object, str], object]
    read: Callable[[str, str], Any] = lambda _, text: text


_SECONDS = _Kind(_check_seconds, _read_number)
_COUNT = _Kind(_check_count, _read_count)
_NUMBER = _Kind(_check_number, _read_count)
_STRATEGY = _Kind(_one_of("search", SAMPLE))
_PROCESSES = _Kind(_one_of(FRESH, REUSED))
_WORKERS = _Kind(_check_workers, _read_workers)
_SWITCH = _Kind(_check_flag, _read_flag)
_METHOD = _Kind(_check_start_method)
_FUNCTION = _Kind(_check_prepare)
_HOSTS = _Kind(_check_allow_network, _read_hosts)
_PATTERNS = _Kind(_check_patterns, lambda _, text: [part.strip() for part in text.split(",")])
_TOKEN = _Kind(_check_replay)
_EDITOR = _Kind(_check_editor)


class Flag(NamedTuple):
    """An option as runners of tests have it on their command line, and in their configuration file if `in_file`."""

    metavar: str
    kind: type[float | int | str]
    help: str
    in_file: bool = True


def _row(kind: _Kind, flag: Flag | None = None) -> dict[str, Any]:
    return {"kind": kind, "flag": flag}


@dataclass(frozen=True, slots=True)
class Options:
    """How races are run: one row for each option; `options` documents them.

    Attributes:
        step_timeout: None for 10 s, or `timeout` if that is less.
        replay: The token of the one order that explorations run; set by a test runner, not by `options`.
    """

    timeout: float = field(
        default=30.0,
        metadata=_row(_SECONDS, Flag("SECONDS", float, "how long a concurrent call may take (default: 30)")),
    )
    start_method: str = field(
        default="fork" if sys.platform == "linux" else "spawn",
        metadata=_row(
            _METHOD,
            Flag(
                "METHOD",
                str,
                "what concurrent calls run in: fork, spawn or inline (default: fork on Linux, else spawn)",
            ),
        ),
    )
    prepare: Target | None = field(default=None, metadata=_row(_FUNCTION))
    allow_real_databases: bool = field(default=False, metadata=_row(_SWITCH))
    allow_network: bool | Collection[str] = field(default=False, metadata=_row(_HOSTS))
    record: bool = field(default=False, metadata=_row(_SWITCH))
    max_schedules: int = field(default=1000, metadata=_row(_COUNT))
    max_seconds: float = field(
        default=60.0, metadata=_row(_SECONDS, Flag("SECONDS", float, "how long an exploration may take (default: 60)"))
    )
    strategy: str = field(default="search", metadata=_row(_STRATEGY))
    seed: int = field(default=0, metadata=_row(_NUMBER))
    processes: str = field(default=FRESH, metadata=_row(_PROCESSES))
    workers: int | str | Client = field(default=1, metadata=_row(_WORKERS))
    real_time: bool = field(default=False, metadata=_row(_SWITCH))
    deliveries: int = field(default=1, metadata=_row(_COUNT))
    queues: Sequence[str] = field(default=QUEUES, metadata=_row(_PATTERNS))
    allow_threads: Sequence[str] = field(default=(), metadata=_row(_PATTERNS))
    start_timeout: float = field(default=120.0, metadata=_row(_SECONDS))
    step_timeout: float | None = field(default=None, metadata=_row(_SECONDS))
    editor: str | None = field(
        default=None,
        metadata=_row(
            _EDITOR,
            Flag("EDITOR", str, "what opens source lines of pages: vscode, pycharm, or a URL with {file} and {line}"),
        ),
    )
    replay: str | None = field(
        default=None,
        metadata=_row(
            _TOKEN,
            Flag("TOKEN", str, "run this one order instead of exploring, in the one test that is named", False),
        ),
    )

    @property
    def places(self) -> int:
        """How many runs of an exploration are made at the same time on this machine."""
        if self.workers == AUTO:
            return processors()
        return self.workers if isinstance(self.workers, int) else 1

    @property
    def has_cluster(self) -> bool:
        """Whether workers of dask make runs as well."""
        return self.workers != AUTO and not isinstance(self.workers, int)

    @property
    def start_up(self) -> float:
        """How long it may take until all calls are ready to start, once the project has, in seconds."""
        return max(self.timeout, 30.0)

    @property
    def step_limit(self) -> float:
        """How long one step of an exploration may take, in seconds."""
        return min(self.timeout, 10.0) if self.step_timeout is None else self.step_timeout


_OPTIONS: Mapping[str, _Kind] = {each.name: each.metadata["kind"] for each in fields(Options)}
FLAGS: Mapping[str, Flag] = {each.name: flag for each in fields(Options) if (flag := each.metadata["flag"])}

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
            debugging: one call after another in this process).
        prepare: A function without arguments, or "package.module:function", that
            every process runs before the common start: for mocks that cannot be pickled.
        allow_real_databases: Let calls connect to databases that are not test databases.
        allow_network: Let calls reach public network addresses: True for all, or a list of
            names, addresses and networks.  Private addresses and the project's databases and
            caches are always allowed.  With "inline" nothing is refused.
        record: Record each database round trip, cache operation and `step()` of the
            calls of a race with its times, for `Outcomes.lanes()` and
            `CallReport.steps`; each takes about 0.03 ms longer.  Not with "inline".
        max_schedules: How many runs of the calls an exploration may make.
        max_seconds: How long an exploration may take.
        strategy: Which orders an exploration runs when it has run the serial ones: "search" (those
            with one preemption, then those with two, and so on), or "sample" (orders drawn at random,
            until chance gives no new ones; then as "search").
        seed: Which orders are drawn at random; the same number gives the same orders.
        processes: What runs of an exploration are made in: "fresh" (each in new processes), or "reused"
            (in the same ones again and again, as long as the calls leave nothing behind in them).
        workers: How many runs of an exploration are made at the same time, each on its own copy
            of the test databases; "auto" for one per core that this process may use.  Or the
            cluster of dask whose workers make runs as well: the address of its scheduler, such as
            "tcp://scheduler:8786", or a `distributed.Client`.  The verdict is the same.
        real_time: Give explored calls a running clock and unseeded randomness.  By default their
            wall clock stands still at the moment at which `explore` was called, 10 ms later with
            each call, and everything random is seeded, so that two runs of one order end alike.
        deliveries: How often each task that an explored call enqueues is delivered.  A queue that
            acknowledges late, such as Celery with `acks_late`, delivers a task twice if a worker dies.
        queues: Patterns of the names of tables from which workers of a queue take work.  What
            calls put there is not explored, and notes say so.  Those of django-q2, procrastinate,
            django-tasks and django-background-tasks are known.
        allow_threads: Patterns, such as "heartbeat*", of the names or modules of threads
            that may be running when processes are forked.  Allow only threads that a fork
            can do without: the fork does not have the thread, but keeps the locks that it
            held.  Threads of OpenTelemetry, Sentry, ddtrace and prometheus_client are known
            to be harmless.
        start_timeout: How long starting the project may take, in seconds.
        step_timeout: How long one step of an exploration may take, in seconds; by
            default 10, or `timeout` if that is less.
        editor: What a click on a source line of an HTML page opens: "vscode", "pycharm", or an
            address with "{file}" and "{line}" in it.  By default source lines are not links,
            because links show the paths of this machine to everybody who gets the page.

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
        strategy: str = _UNSET,
        seed: int = _UNSET,
        processes: str = _UNSET,
        workers: int | str | Client = _UNSET,
        real_time: bool = _UNSET,
        deliveries: int = _UNSET,
        queues: Sequence[str] = _UNSET,
        allow_threads: Sequence[str] = _UNSET,
        start_timeout: float = _UNSET,
        step_timeout: float = _UNSET,
        editor: str | None = _UNSET,
    ) -> None:
        given = {name: value for name, value in locals().items() if name != "self"}
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


def processors() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def editor_address() -> str:
    """Return the address by which source lines open the editor, with places for file and line; empty if they do not."""
    chosen = current_options().editor
    return EDITORS.get(chosen, chosen) if chosen else ""


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

    from .project import uses_django

    value = getattr(settings, "AIOCONCURRENT", {}) if uses_django() else {}
    if not isinstance(value, dict):
        raise TypeError(f"The setting AIOCONCURRENT must be a dict of options, not {value!r}.")
    return value


def environment_variable(name: str) -> str:
    """The variable of the environment that sets an option."""
    return f"AIOCONCURRENT_{name.upper()}"


def _from_environment() -> dict[str, Any]:
    variables = {name: environment_variable(name) for name in _OPTIONS}
    return {
        name: _OPTIONS[name].read(variable, text)
        for name, variable in variables.items()
        if (text := os.environ.get(variable))
    }


def check(given: Mapping[str, Any], where: str) -> None:
    """Check options by name; the text of an error begins with `where`.

    Raises:
        TypeError: A value has the wrong type.
        ValueError: One is out of range, or there is no such option.
    """
    for name, value in given.items():
        if name not in _OPTIONS:
            raise ValueError(f"{where} has no option {name!r}; there are {', '.join(_OPTIONS)}{meant(name, _OPTIONS)}.")
        _OPTIONS[name].check(name, value, where)
