"""The errors of this library; each text says what happened, to which call, and what to do.

Every one of them survives pickling: `args` hold what the constructor takes, and
the text is made when it is asked for.
"""

from __future__ import annotations

import importlib
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

if TYPE_CHECKING:
    from types import TracebackType

__all__ = [
    "AioconcurrentError",
    "NotATestDatabaseError",
    "ProcessDiedError",
    "ProtocolError",
    "RemoteError",
    "TemplateWarning",
    "TerminatedProcessError",
    "UncommittedDataError",
    "UnpicklableError",
    "WrappedError",
]


class AioconcurrentError(Exception):
    """Base of every error of this library."""


class WrappedError(AioconcurrentError):
    """Stands among the outcomes for a call that did not return a value.

    Attributes:
        error: The exception as the call raised it, with its cause, notes and
            traceback; or an error of this library that says why there is none.
        call: Which call it was, for people.
    """

    def __init__(self, error: BaseException, call: str = "") -> None:
        super().__init__(error, call)
        self.error = error
        self.call = call

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
        said = _said(self.error)
        text = f"{name}: {said}" if said else name
        return f"{self.call}: {text}" if self.call not in text else text

    def __repr__(self) -> str:
        return f"<WrappedError {self}>"

    def __reduce__(self) -> tuple[Any, ...]:
        from ._pickling import dump_error

        return _load_wrapped, (dump_error(self.error), self.call)


def _load_wrapped(payload: bytes, call: str) -> WrappedError:
    from ._pickling import load_error

    return WrappedError(load_error(payload), call)


class TerminatedProcessError(AioconcurrentError):
    """The process of a call was ended because the call did not end within its time.

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
        return (
            f"{self.call} (process {self.pid}) was still {self.phase} after {self.timeout:g} s and was terminated "
            f"with its whole process group. If it only needs longer, raise the limit with options(timeout=...)."
            f"{_last_lines(self.output)}"
        )


class ProcessDiedError(AioconcurrentError):
    """The process of a call ended, or fell silent, without a result.

    Attributes:
        call: Which call it was.
        pid: Its process; None if it never came into being.
        exit_status: As in `subprocess.Popen.returncode`, a signal's number
            being negative; None if it could not be learnt.
        phase: What the process was doing.
        output: The last lines that it printed.
    """

    def __init__(self, call: str, pid: int | None, exit_status: int | None, phase: str, output: str = "") -> None:
        super().__init__(call, pid, exit_status, phase, output)
        self.call, self.pid, self.exit_status, self.phase, self.output = call, pid, exit_status, phase, output

    def __str__(self) -> str:
        return (
            f"{self.call} (process {self.pid}) {describe_exit(self.exit_status)} while {self.phase}, "
            f"so there is no result.{_exit_hint(self.exit_status)}{_last_lines(self.output)}"
        )


class UnpicklableError(AioconcurrentError):
    """Something on its way between two processes cannot be pickled.

    Attributes:
        what: What it is, and of which call.
        reason: What pickle said.
    """

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, reason)
        self.what, self.reason = what, reason

    def __str__(self) -> str:
        return (
            f"{self.what} cannot travel between processes: {self.reason}. "
            "Pass plain data instead, such as a primary key, and look the object up inside the function."
        )


class RemoteError(AioconcurrentError):
    """Stands for an exception of a call that cannot be rebuilt in this process.

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
        return (
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
    """A call tried to connect to a database that is no test database."""

    def __init__(self, alias: str, name: str) -> None:
        super().__init__(alias, name)
        self.alias, self.name = alias, name

    def __str__(self) -> str:
        return (
            f"Database {self.alias!r} is {self.name!r}, which is no test database, so the call may not connect to it. "
            "Let the test set the test database up (TransactionTestCase or "
            "@pytest.mark.django_db(transaction=True)), or, if this database may be changed, use "
            "options(allow_real_databases=True)."
        )


class TokenError(AioconcurrentError, ValueError):
    """A text that is no token of a schedule."""

    def __init__(self, token: str, fault: str) -> None:
        super().__init__(token, fault)
        self.token = token
        self.fault = fault

    def __str__(self) -> str:
        return (
            f"{self.token!r} is not a schedule token: {self.fault}. "
            f"A token looks like aioc1:0.1*2.0:Xa3_ and is printed with each counterexample."
        )


class ProtocolError(AioconcurrentError):
    """Bytes arrived that are no message of this library."""


class TemplateWarning(UserWarning):
    """Wrappers cannot be forked from a template, so that each starts an interpreter of its own."""


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as problem:
        return f"<no text: its __str__ raised {type(problem).__qualname__}>"


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
    lines = output.strip().splitlines()[-count:]
    return "\nIts last output:\n" + "\n".join(f"  {line}" for line in lines) if lines else ""
