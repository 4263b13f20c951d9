"""The actor on a worker of dask: it starts a process there, and passes messages to it and back.

The process (`process.py`) has the project and a stage; this has neither, so that a worker needs no
settings.  Whatever ends this, the worker that is killed and the scheduler that is gone included,
closes the stream to the process, and that ends the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from ...engine.launch import with_path

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_HEADER = struct.Struct(">Q")
_PIECE = 1024 * 1024  # bytes
_SAID = 4000  # bytes of what the process has printed last
_FAREWELL = 40.0  # seconds for the process to end by itself, which gives up sooner
_PROGRAM = "from aioconcurrent.running.cluster.process import main; main()"


def send(stream: socket.socket, message: bytes) -> None:
    """Send a message; blocks until it is on its way."""
    stream.sendall(_HEADER.pack(len(message)))
    stream.sendall(message)


def receive(stream: socket.socket) -> bytes | None:
    """Wait for a message; None when there will be no more."""
    header = _receive(stream, _HEADER.size)
    return None if header is None else _receive(stream, *_HEADER.unpack(header))


def _receive(stream: socket.socket, size: int) -> bytes | None:
    found = bytearray()
    while len(found) < size:
        piece = stream.recv(min(_PIECE, size - len(found)))
        if not piece:
            return None
        found += piece
    return bytes(found)


class ProcessActor:
    """Starts a process on a worker, and passes messages; dask calls its methods for the machine of the test."""

    def __init__(self) -> None:
        self._stream, theirs = socket.socketpair()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._talking = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", with_path(sys.path, _PROGRAM)],
                stdin=theirs.fileno(),
                stdout=self._log,
                stderr=self._log,
                start_new_session=True,  # what ends the worker's group is no reason to leave something behind
            )

    async def ask(self, message: bytes) -> tuple[bytes, str]:
        """Pass a message on; return the answer, or why there is none."""
        return await _in_thread(lambda: self._talk(message))

    async def close(self) -> None:
        """Have the process end, whatever it is doing, and wait for that."""
        await _in_thread(self._end)

    def _talk(self, message: bytes) -> tuple[bytes, str]:
        # the answer to the last message may be under way, and nobody waits for it any more
        with self._talking, contextlib.suppress(OSError):
            send(self._stream, message)
            answer = receive(self._stream)
            if answer is not None:
                return answer, ""
        return b"", f"its process has ended{self._last_words()}"

    def _last_words(self) -> str:
        end = os.fstat(self._log.fileno()).st_size
        said = os.pread(self._log.fileno(), _SAID, max(0, end - _SAID)).decode(errors="replace").strip()
        return f"; the last that it printed:\n{said}" if said else ""

    def _end(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(_FAREWELL)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


async def _in_thread(function: Callable[[], T]) -> T:
    """Run what blocks in a thread that keeps no worker from ending."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            tell(future.set_result, function())
        except BaseException as error:
            tell(future.set_exception, error)

    def tell(do: Callable[[Any], None], what: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(lambda: None if future.done() else do(what))

    threading.Thread(target=run, name="aioconcurrent actor", daemon=True).start()
    return await future
