"""The blocking end of a stream of frames, for the processes that have nothing else to do."""

from __future__ import annotations

import os
import threading

from ..exceptions import ProtocolError
from .frames import GREETING, Frame, FrameReader, Kind

_PIECE = 256 * 1024  # bytes


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
            data = os.read(self._source, _PIECE)
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
