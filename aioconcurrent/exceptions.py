"""The errors of this library.  Each text says what happened, to which call, and what to do.

All of them survive pickling: `args` hold what the constructor takes, and the text is made
when it is asked for.
"""

from __future__ import annotations

import importlib
import signal
import sys
import traceback
from typing import TYPE_CHECKING, NoReturn, TextIO

from ._text import printable, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

__all__ = [
    "AioconcurrentError",
    "ClusterError",
    "DatabaseInMemoryChangedError",
    "DatabaseInMemoryLockedError",
    "NetworkError",
    "NoConnectionLeftError",
    "NoTerminalError",
    "NotATestDatabaseError",
    "PatchError",
    "PooledSessionError",
    "ProbeNotPermittedError",
    "ProcessDiedError",
    "RealDatabaseError",
    "RemoteError",
    "RowsLeftWarning",
    "StateError",
    "TaskResultError",
    "TemplateWarning",
    "TerminatedProcessError",
    "TokenError",
    "UncommittedDataError",
    "UnexplorableDatabaseError",
    "UnpicklableError",
    "UnreadResultWarning",
    "WrappedError",
]


class AioconcurrentError(Exception):
    """Base of every error of this library."""


class WrappedError(AioconcurrentError):
    """Takes the place of a value among the outcomes, for a call that did not return one.

    Attributes:
        error: The exception as the call raised it, with its cause, notes and
            traceback; or an error of this library that says why there is none.
        call: Which call it was, for people.
    """

    def __init__(self, error: BaseException, call: str = "") -> None:
        super().__init__(error, call)
        self.error, self.call = error, call

    @property
    def traceback(self) -> TracebackType | None:
        """The frames of the process that raised the error; None where no code of the call raised it."""
        return self.error.__traceback__

    def reraise(self) -> NoReturn:
        """Raise the error with the traceback of its own process."""
        raise self.error.with_traceback(self.traceback)

    def print_tb(self, file: TextIO | None = None) -> None:
        """Print the frames and source lines of the call to `file`, by default stderr."""
        traceback.print_tb(self.traceback, file=file)

    def debug(self) -> None:
        """Look at the frames of the call in ipdb where it is installed, else in pdb."""
        try:
            debugger = importlib.import_module("ipdb")
        except ImportError:
            debugger = importlib.import_module("pdb")
        debugger.post_mortem(self.traceback)

    def __str__(self) -> str:
        name = type(self.error).__qualname__
        said = text_of(self.error)
        text = f"{name}: {said}" if said else name
        return printable(f"{self.call}: {text}" if self.call not in text else text)

    def __repr__(self) -> str:
        return f"<WrappedError {self}>"


def error_of(outcome: object) -> BaseException | None:
    """What a call raised, if its outcome is that it did."""
    error = outcome.error if isinstance(outcome, WrappedError) else outcome
    return error if isinstance(error, BaseException) else None


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """An error, then what it came of, and so on; of a group its members, too."""
    known: dict[int, BaseException] = {}  # for equal ones are not the same
    waiting = [error]
    while waiting:
        each = waiting.pop(0)
        if each is not None and id(each) not in known:
            known[id(each)] = each
            yield each
            members = each.exceptions if isinstance(each, BaseExceptionGroup) else ()
            waiting += [each.__cause__, each.__context__, *members]


class TerminatedProcessError(AioconcurrentError):
    """The process of a call was ended because the call exceeded its time limit.

    Attributes:
        call: Which call it was.
        pid: Its process.
        timeout: The limit that passed, in seconds.
        phase: What the process was doing.
        output: The last lines that it printed.
    """

    def __init__(self, call: str, pid: int | None, timeout: float, phase: str, output: str = "") -> None:
        super().__init__(call, pid, timeout, phase, output)
        self.call, self.pid, self.timeout, self.phase, self.output = call, pid, timeout, phase, output

    def __str__(self) -> str:
        raised = {"starting": "start_timeout=..., timeout=...", "starting the project": "start_timeout=..."}
        return (
            f"{self.call}{_process(self.pid)} was still {self.phase} after {self.timeout:g} s and was terminated "
            f"with its whole process group. If it only needs longer, raise the limit with "
            f"options({raised.get(self.phase, 'timeout=...')})."
            f"{_last_lines(self.output)}"
        )


class ProcessDiedError(AioconcurrentError):
    """The process of a call ended, or fell silent, without a result.

    Attributes:
        call: Which call it was.
        pid: Its process; None if it was never started.
        exit_status: As in `subprocess.Popen.returncode`, a signal's number
            being negative; None if it could not be learnt.
        phase: What the process was doing.
        output: The last lines that it printed.
        silence: Why this library ended it, after hearing no more from it;
            empty if it ended by itself.
    """

    def __init__(
        self,
        call: str,
        pid: int | None,
        exit_status: int | None,
        phase: str,
        output: str = "",
        silence: str = "",
    ) -> None:
        super().__init__(call, pid, exit_status, phase, output, silence)
        self.call, self.pid, self.exit_status, self.phase = call, pid, exit_status, phase
        self.output, self.silence = output, silence

    def __str__(self) -> str:
        ending, hint = describe_exit(self.exit_status), _exit_hint(self.exit_status)
        if self.silence:
            ending = f"{printable(self.silence)} and was therefore terminated"
            hint = " Something closed the descriptors that this library talks through, or wrote to them."
        return (
            f"{self.call}{_process(self.pid)} {ending} while {self.phase}, "
            f"so there is no result.{hint}{_last_lines(self.output)}"
        )


class NetworkError(AioconcurrentError):
    """A call tried to connect to a network address that it may not reach; nothing was sent.

    Attributes:
        address: The address.
        banned: Whether pytest-socket refused it.
    """

    def __init__(self, address: str, banned: bool = False) -> None:
        super().__init__(address, banned)
        self.address, self.banned = address, banned

    def __str__(self) -> str:
        why = "pytest-socket closes it" if self.banned else "calls may reach private addresses only"
        return (
            f"A call was about to connect to {self.address}: {why}, and nothing was sent. Mock what "
            "it asks there (patches of the test hold in its calls, and options(prepare=...) can add others), "
            "or open the address with options(allow_network=[...]), which takes names, addresses and networks."
        )


class TaskResultError(AioconcurrentError):
    """An explored call waits for the result of a task that it has enqueued, which would never come.

    Attributes:
        task: The name of the task, or its id where the name is not known.
    """

    def __init__(self, task: str) -> None:
        super().__init__(task)
        self.task = task

    def __str__(self) -> str:
        return (
            f"An explored call waits for the result of {self.task}, and would wait for ever: what a call enqueues is "
            "explored as a call of its own, which sends no result back. Explore the code that comes before the wait, "
            "or let the task's function be called in place of the task: options(prepare=...) takes a function that "
            "each process runs before its call, the place for such a mock."
        )


class UnpicklableError(AioconcurrentError):
    """Something that has to be sent between two processes cannot be pickled.

    Attributes:
        what: What it is, and of which call.
        reason: What pickle said.
    """

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, reason)
        self.what, self.reason = what, reason

    def __str__(self) -> str:
        advice = "Pass plain data instead, such as a primary key, and look the object up inside the function."
        if self.what.endswith(" returned"):
            advice = (
                "Return plain data instead, such as a primary key or the status code of a response, or let "
                "aioconcurrent.http.request make the request."
            )
        return printable(f"{self.what} cannot travel between processes: {self.reason}. {advice}")


class PatchError(UnpicklableError):
    """A mock or patch of the test cannot be carried into the calls.

    Attributes:
        what: What it replaces.
        reason: Why it cannot be carried over.
    """

    def __str__(self) -> str:
        return printable(
            f"The test has patched {self.what}, which cannot be carried into the processes of the calls: "
            f"{self.reason}. They would use the real one. Let them put something in its place themselves: "
            "options(prepare=...) takes a function that each process runs before its call."
        )


class RemoteError(AioconcurrentError):
    """Takes the place of an exception of a call that cannot be rebuilt in this process.

    Attributes:
        type_name: The exception's class.
        message: Its text.
        reason: Why it could not travel.
        formatted: The whole traceback, as Python prints it.
    """

    def __init__(self, type_name: str, message: str, reason: str, formatted: str) -> None:
        super().__init__(type_name, message, reason, formatted)
        self.type_name, self.message, self.reason, self.formatted = type_name, message, reason, formatted

    def __str__(self) -> str:
        return printable(
            f"{self.type_name}: {self.message} (the exception itself cannot be rebuilt in this process: "
            f"{self.reason}; make it picklable to get it whole)\n{self.formatted}"
        )


class UncommittedDataError(AioconcurrentError):
    """The caller's transaction hides its rows from the processes of the calls."""

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        self.alias = alias

    def __str__(self) -> str:
        return (
            f"The test is inside atomic() on database {self.alias!r}, so no other process can see its rows. "
            "Use TransactionTestCase or @pytest.mark.django_db(transaction=True)."
        )


class NotATestDatabaseError(AioconcurrentError):
    """A call tried to connect to a database that is not a test database."""

    def __init__(self, alias: str, name: str) -> None:
        super().__init__(alias, name)
        self.alias, self.name = alias, name

    def __str__(self) -> str:
        return (
            f"Database {self.alias!r} is {self.name!r}, which is not a test database, so the call may not connect "
            "to it. Let the test set up the test database (TransactionTestCase or "
            "@pytest.mark.django_db(transaction=True)), or, if this database may be changed, use "
            "options(allow_real_databases=True)."
        )


class RealDatabaseError(AioconcurrentError):
    """An exploration was requested while calls may connect to any database."""

    def __str__(self) -> str:
        return (
            "explore() and replay() put the rows of a database back after each run, and would undo whatever others "
            "write meanwhile. They work only on test databases, and refuse "
            "options(allow_real_databases=True): remove it around them, and let the test set up a test database."
        )


class NoTerminalError(AioconcurrentError):
    """A call started a debugger without a terminal."""

    def __str__(self) -> str:
        return (
            "breakpoint() in a call needs a terminal, and the stdin of the test's process is not one. Run pytest with "
            '-s and without pytest-xdist\'s -n, or use options(start_method="inline").'
        )


class DatabaseInMemoryLockedError(AioconcurrentError):
    """A database in memory is locked by the caller, so that it cannot be lent or taken back."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return (
            f"The database in memory {self.name!r} is locked by a statement of this process that has not ended, such "
            "as a query that is still being iterated over. Finish it before the calls are made, or give the test "
            'database a file (DATABASES[...]["TEST"]["NAME"]).'
        )


class ClusterError(AioconcurrentError):
    """A cluster of dask cannot make the runs of an exploration.

    Attributes:
        where: The scheduler or the worker.
        problem: What is wrong.
    """

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(where, problem)
        self.where, self.problem = where, problem

    def __str__(self) -> str:
        return f"No runs can be made on dask, because of {self.where}: {self.problem}."


class DatabaseInMemoryChangedError(AioconcurrentError):
    """A database in memory was changed here while it was lent, and by the calls as well."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return (
            f"The database in memory {self.name!r} was changed by the calls and, at the same time, by this process, "
            "such as by the thread of its live server: the changes of one would be lost. Give the test database a "
            'file (DATABASES[...]["TEST"]["NAME"]), or let the calls do nothing but make requests.'
        )


class ProbeNotPermittedError(AioconcurrentError):
    """The user of a database may not see who waits for locks."""

    def __init__(self, alias: str, grant: str) -> None:
        super().__init__(alias, grant)
        self.alias, self.grant = alias, grant

    def __str__(self) -> str:
        return (
            f"The user of database {self.alias!r} may not see which sessions wait for locks, so calls cannot be "
            f"stepped. Ask an administrator to run: {self.grant};"
        )


class NoConnectionLeftError(AioconcurrentError):
    """A server has no connection left for a call that is explored, or for the exploration itself."""

    def __init__(self, alias: str, problem: str) -> None:
        super().__init__(alias, problem)
        self.alias, self.problem = alias, problem

    def __str__(self) -> str:
        return printable(
            f"The server of database {self.alias!r} has no connection left ({self.problem}), and exploring needs three "
            "of its own and up to two for each call: close others, or raise the limits of the server, the "
            "database and the role."
        )


class UnexplorableDatabaseError(AioconcurrentError):
    """Calls cannot be stepped on a database of this engine."""

    def __init__(self, alias: str, vendor: str) -> None:
        super().__init__(alias, vendor)
        self.alias, self.vendor = alias, vendor

    def __str__(self) -> str:
        return (
            f"Database {self.alias!r} is of the engine {self.vendor!r}, but calls can be explored only on "
            "PostgreSQL, MariaDB, MySQL and SQLite. call_concurrently works on it."
        )


class PooledSessionError(AioconcurrentError):
    """A database is reached through a pooler, which keeps no session for a connection."""

    def __init__(self, alias: str, place: str) -> None:
        super().__init__(alias, place)
        self.alias, self.place = alias, place

    def __str__(self) -> str:
        return (
            f"Database {self.alias!r} is reached at {self.place} through a connection pooler, such as PgBouncer, which "
            "may run each transaction in another session of the server, so locks and waits cannot be observed and "
            "calls cannot be stepped. Point HOST and PORT of the tests at the server itself. call_concurrently "
            "also works through the pooler."
        )


class StateError(AioconcurrentError):
    """The starting rows of a database could not be read or put back."""

    def __init__(self, alias: str, reason: str) -> None:
        super().__init__(alias, reason)
        self.alias, self.reason = alias, reason

    def __str__(self) -> str:
        return (
            f"The rows of database {self.alias!r} could not be read or put back: {self.reason.strip()}\n"
            "If it waited for a lock, end the transaction that is still open on that database, such as one of the "
            "test itself; what the calls did before may still be in the tables."
        )


class TokenError(AioconcurrentError, ValueError):
    """A text is not a token of a schedule."""

    def __init__(self, token: str, fault: str) -> None:
        super().__init__(token, fault)
        self.token, self.fault = token, fault

    def __str__(self) -> str:
        return (
            f"{self.token!r} is not a schedule token: {self.fault}. "
            f"A token looks like aioc1:0.1*2.0:Xa3_ and is printed with each counterexample."
        )


class ProtocolError(AioconcurrentError):
    """Bytes arrived that are not a message of this library."""


class UnreadResultWarning(UserWarning):
    """Nobody has looked at an error among outcomes, or at the verdict of an exploration: they test nothing."""


class RowsLeftWarning(UserWarning):
    """An exploration was killed before it could put rows back, and they are still there."""


class TemplateWarning(UserWarning):
    """Calls cannot be forked from a template, so each starts its own interpreter."""


def _process(pid: int | None) -> str:
    return "" if pid is None else f" (process {pid})"


def describe_exit(status: int | None) -> str:
    """Say in words how a process ended.

    Args:
        status: As in `subprocess.Popen.returncode`; None if it is unknown.
    """
    if status is None:
        return "went away"
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def _exit_hint(status: int | None) -> str:
    if status is None:
        return ""
    if status >= 0:
        return " Something called os._exit(), or closed the descriptors that this library talks through."
    if sys.platform != "win32" and -status == signal.SIGKILL:
        return " If nothing in the test sends that signal, the system may have run out of memory."
    return ""


def _last_lines(output: str, count: int = 15) -> str:
    lines = printable(output.replace("\r\n", "\n").strip()).split("\n")[-count:] if output.strip() else []
    return "\nIts last output:\n" + "\n".join(f"  {line}" for line in lines) if lines else ""
