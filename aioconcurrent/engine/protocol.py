"""The wire protocol between the engine and its processes.

Bytes go in and frames come out; what makes frames of bytes reads, writes and unpickles
nothing.  The engine drives it from a task, the tests from byte strings, and the processes
that have nothing else to do from a blocking `Channel`.

A frame is a kind (one byte), the length of its payload (eight bytes, big
endian) and the payload.  A stream begins with `GREETING`; whatever an
interpreter prints before it is noise, kept for error texts.
"""

from __future__ import annotations

import os
import struct
import threading
from dataclasses import dataclass
from enum import IntEnum, unique

from ..exceptions import ProtocolError

GREETING = b"\x00aioconcurrent 1\n"
_HEADER = struct.Struct("!BQ")
_NOISE_KEPT = 64 * 1024  # bytes
LARGEST = 4 * 1024**3  # bytes of a payload; what claims more is no frame of ours, and would be waited for without end


@unique
class Kind(IntEnum):
    """What a frame says; each stage of a conversation knows which ones it expects."""

    # engine -> template
    CONTEXT = 1  # also to a wrapper that has no template
    FORK = 2
    SIGNAL = 3
    LEARN = 4
    # template -> engine
    BOOTED = 10
    UNFIT = 11
    BOOT_FAILED = 12
    FORKED = 13
    EXITED = 14
    # engine -> wrapper
    CALL = 20
    START = 21
    ANSWER = 22
    # wrapper -> engine
    STARTED = 29
    READY = 30
    LOG = 31
    WARNING = 32
    SESSION = 34
    ASK = 35
    PAUSED = 36
    RESUMED = 37
    STEP = 38
    MISTAKE = 40
    OVER = 41  # a stepped call, as far as others can notice
    RESULT = 33


@dataclass(frozen=True, slots=True)
class Frame:
    """One message; the payload is opaque here."""

    kind: Kind
    payload: bytes = b""

    def encode(self) -> bytes:
        return _HEADER.pack(self.kind, len(self.payload)) + self.payload


@dataclass(frozen=True, slots=True)
class Release:
    """How a wrapper that is ready is to begin.

    Attributes:
        start: When, in seconds of `time.monotonic`.
        draw: As for `make_certain`, of a stepped call.
        is_quiet: Whether nobody may stop in the call, whatever `breakpoint()` it has.
        script: What a stepped call is expected to ask for, as the world pickles it.
    """

    start: float
    draw: int = 0
    is_quiet: bool = False
    script: bytes = b""


class FrameReader:
    """Puts frames together from bytes that arrive in pieces of any size.

    Attributes:
        noise: What came before the greeting, the last 64 KiB of it.
    """

    def __init__(self, *, greeting: bool = True) -> None:
        self.noise = b""
        self._greeted = not greeting
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Take in the bytes that arrived next."""
        self._buffer += data

    def next_frame(self) -> Frame | None:
        """Return the next frame, or None while its bytes are incomplete.

        Raises:
            ProtocolError: The bytes are not a frame of ours.
        """
        if not (self._greeted or self._greet()) or len(self._buffer) < _HEADER.size:
            return None
        kind, length = _HEADER.unpack_from(self._buffer)
        if kind not in Kind._value2member_map_:
            raise ProtocolError(f"unexpected bytes in the stream: {bytes(self._buffer[:64])!r}")
        if length > LARGEST:
            raise ProtocolError(f"a message of {length:,} bytes is announced, and {LARGEST:,} are allowed")
        end = _HEADER.size + length
        if len(self._buffer) < end:
            return None
        with memoryview(self._buffer) as view:
            payload = bytes(view[_HEADER.size : end])
        del self._buffer[:end]
        return Frame(Kind(kind), payload)

    def _greet(self) -> bool:
        start = self._buffer.find(GREETING)
        self._greeted = start >= 0
        # Before the greeting all but the bytes that may be its beginning is noise.
        noise = start if self._greeted else max(0, len(self._buffer) - len(GREETING) + 1)
        self.noise = (self.noise + bytes(self._buffer[:noise]))[-_NOISE_KEPT:]
        del self._buffer[: noise + len(GREETING) if self._greeted else noise]
        return self._greeted


_READ = 256 * 1024  # bytes


class Channel:
    """Frames over two descriptors, which may be the same one."""

    def __init__(self, source: int, sink: int) -> None:
        self._source, self._sink = source, sink
        self._reader = FrameReader(greeting=False)
        self._writing = threading.Lock()
        self._owner = os.getpid()

    def greet(self) -> None:
        """Begin the stream."""
        _write(self._sink, GREETING)

    def send(self, kind: Kind, payload: bytes = b"") -> None:
        """Write one frame; from any thread, but not from a process that was forked off by the call."""
        if os.getpid() == self._owner:
            with self._writing:
                _write(self._sink, Frame(kind, payload).encode())

    def receive(self) -> Frame:
        """Wait for the next frame.

        Raises:
            EOFError: The other end is gone.
        """
        while (frame := self._reader.next_frame()) is None:
            data = os.read(self._source, _READ)
            if not data:
                raise EOFError
            self._reader.feed(data)
        return frame

    def expect(self, kind: Kind) -> bytes:
        """Wait for the next frame, which has to be of that kind, and return its payload.

        Raises:
            EOFError: The other end is gone.
            ProtocolError: It is of another kind.
        """
        frame = self.receive()
        if frame.kind is not kind:
            raise ProtocolError(f"expected {kind.name}, got {frame.kind.name}")
        return frame.payload


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
