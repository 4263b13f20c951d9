"""The stream of frames, read a second time in the plainest way there is; run as a program, it fuzzes the reader.

    python -m tests.frames_read [inputs, by default 100,000] [seed]

With atheris installed its mutations follow what the reader does, else they are blind.
"""

import sys
import time
from collections.abc import Iterable
from importlib import import_module
from random import Random

from aioconcurrent.engine.protocol import GREETING, LARGEST, Frame, FrameReader, Kind
from aioconcurrent.exceptions import ProtocolError

NOISE_KEPT = 64 * 1024
Read = tuple[list[Frame], bytes, bool]  # the frames, the noise, and whether the rest is refused


def read_plainly(stream: bytes, *, greeting: bool) -> Read:
    """What there is to read in a whole stream."""
    noise = b""
    if greeting:
        noise, found, rest = stream.partition(GREETING)
        if not found:
            return [], stream[: max(0, len(stream) - len(GREETING) + 1)][-NOISE_KEPT:], False
        stream = rest
    frames: list[Frame] = []
    while len(stream) >= 9:
        kind, length = stream[0], int.from_bytes(stream[1:9])
        if kind not in list(Kind) or length > LARGEST:
            return frames, noise[-NOISE_KEPT:], True
        if len(stream) < 9 + length:
            break
        frames.append(Frame(Kind(kind), stream[9 : 9 + length]))
        stream = stream[9 + length :]
    return frames, noise[-NOISE_KEPT:], False


def read_in_pieces(pieces: Iterable[bytes], *, greeting: bool) -> Read:
    """What the reader makes of it, fed with one piece after another."""
    reader, frames = FrameReader(greeting=greeting), []
    try:
        for piece in pieces:
            reader.feed(piece)
            while (frame := reader.next_frame()) is not None:
                frames.append(frame)
    except ProtocolError:
        return frames, reader.noise, True
    return frames, reader.noise, False


def check(data: bytes) -> None:
    """Compare both on an input: its first byte says whether there is a greeting, and its second how it is cut."""
    greeting, cut, stream = bool(data[:1] > b"\x7f"), data[1] if len(data) > 1 else 0, data[2:]
    size = max(1, cut % 48)
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)] if cut < 192 else [stream]
    expected = read_plainly(stream, greeting=greeting)
    found = read_in_pieces(pieces, greeting=greeting)
    assert found == expected, f"{data!r}: {found} in place of {expected}"


def invent(random: Random) -> bytes:
    """A stream that is nearly one of ours."""
    parts = [random.randbytes(2)]
    for _ in range(random.randint(0, 6)):
        match random.randint(0, 7):
            case 0:
                parts.append(random.randbytes(random.randint(0, 40)))
            case 1:
                parts.append(GREETING[: random.randint(0, len(GREETING))])
            case 2:
                parts.append(GREETING)
            case 3:
                claimed = random.choice([0, 1, 255, LARGEST, LARGEST + 1, 2**60, 2**64 - 1])
                parts.append(bytes([random.choice(list(Kind))]) + claimed.to_bytes(8))
            case _:
                parts.append(Frame(random.choice(list(Kind)), random.randbytes(random.randint(0, 30))).encode())
    whole = bytearray(b"".join(parts))
    for _ in range(random.choice([0, 0, 1, 3])):
        whole[random.randrange(len(whole))] = random.randrange(256)
    return bytes(whole)


def main(inputs: int, seed: int) -> None:
    try:
        atheris = import_module("atheris")
    except ImportError:
        random, begun = Random(seed), time.monotonic()
        for _ in range(inputs):
            check(invent(random))
        print(f"{inputs:,} inputs, seed {seed}, {time.monotonic() - begun:.0f} s: no difference")
        return
    from aioconcurrent.engine import protocol

    atheris.instrument_func(check)
    atheris.instrument_func(protocol.FrameReader.next_frame)
    atheris.instrument_func(protocol.FrameReader._greet)
    atheris.Setup([sys.argv[0], f"-atheris_runs={inputs}", f"-seed={seed}", "-max_len=400"], check)
    atheris.Fuzz()


if __name__ == "__main__":
    arguments = [int(argument) for argument in sys.argv[1:]]
    main(*[*arguments, *[100_000, 0][len(arguments) :]])
