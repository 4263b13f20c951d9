"""The caller's hold on its template, from one race to the next.

The template outlives event loops, so nothing here belongs to one: between races
there are a socket, a pipe and a file.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import threading

import anyio

from .launch import Lifeline, python_command
from .threads import QUIET

_LOG_KEPT = 64 * 1024  # bytes of the template's output


class TemplateProcess:
    """A template as its caller holds it.

    Attributes:
        is_up: Whether it has ever answered.
    """

    def __init__(self) -> None:
        self._control, self._theirs = socket.socketpair()
        self._life = Lifeline()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the template
        self._read = 0
        self.is_up = False

    async def start(self) -> None:
        """Start the process; races may be opened before it is up."""
        control = self._theirs
        with anyio.CancelScope(shield=True):  # a cancelled start would leave a process nobody knows of
            launcher = await anyio.open_process(
                python_command(
                    "from aioconcurrent.engine.template import main; main(*map(int, sys.argv[1:]))",
                    *self._life.inherited,
                    control.fileno(),
                ),
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                start_new_session=True,
                env={**os.environ, **QUIET},  # agents may start with the interpreter
                pass_fds=(*self._life.inherited, control.fileno()),
            )
            control.close()
            await launcher.wait()

    def open_race(self) -> socket.socket:
        """Return a socket to the template for one race.

        Raises:
            OSError: The template is gone.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [b"r"], [theirs.fileno()])
            except OSError:
                ours.close()
                raise
        return ours

    def read_output(self) -> bytes:
        """What the template printed since this was asked last, the end of it."""
        if self._log.closed:  # given up by another race
            return b""
        end = os.fstat(self._log.fileno()).st_size
        start, self._read = max(self._read, end - _LOG_KEPT), end
        return os.pread(self._log.fileno(), end - start, start)

    def close(self) -> None:
        """Let the template end, and with it all that it forked."""
        self._control.close()
        self._theirs.close()
        self._life.close()
        self._log.close()


class Keeper:
    """Holds at most one template, for the project that was asked for last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: object = None
        self._template: TemplateProcess | None = None

    def get(self, key: object) -> tuple[TemplateProcess, bool]:
        """Return the template for `key`, and whether it is new and has to be started by the caller."""
        with self._lock:
            if self._template is not None and self._key == key:
                return self._template, False
            self._forget()
            self._key, self._template = key, TemplateProcess()
            return self._template, True

    def discard(self, template: TemplateProcess) -> None:
        """Give up a template that is of no use any more."""
        with self._lock:
            if self._template is template:
                self._forget()

    def forget(self) -> None:
        """Give up whatever template there is."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        if self._template is not None:
            self._template.close()
        self._template = None

    def reset_in_fork(self) -> None:
        """A fork of this process is a process of its own: it starts its own template."""
        self._lock = threading.Lock()
        self._forget()


keeper = Keeper()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=keeper.reset_in_fork)


def close_template() -> None:
    """End the template of this process; the next race starts another one."""
    keeper.forget()
