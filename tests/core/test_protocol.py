"""The frames between processes: read whole, whatever the pieces, and refused where they cannot be ours."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioconcurrent.engine.protocol import GREETING, LARGEST, Frame, FrameReader, Kind
from aioconcurrent.exceptions import ProtocolError
from tests.frames_read import check, invent

FRAMES = [Frame(Kind.CALL, b"call"), Frame(Kind.READY), Frame(Kind.RESULT, bytes(range(256)) * 300)]
STREAM = b"noise" + GREETING + b"".join(frame.encode() for frame in FRAMES)


@pytest.mark.parametrize("size", [1, 2, 7, 4096, len(STREAM)])
def test_frames_arrive_whole_whatever_the_pieces(size: int) -> None:
    reader, frames = FrameReader(), []
    for start in range(0, len(STREAM), size):
        reader.feed(STREAM[start : start + size])
        while (frame := reader.next_frame()) is not None:
            frames.append(frame)
    assert frames == FRAMES
    assert reader.noise == b"noise"


@pytest.mark.parametrize("claimed", [LARGEST + 1, 2**60, 2**64 - 1])
def test_a_header_that_claims_more_than_anybody_sends_is_refused_at_once(claimed: int) -> None:
    reader = FrameReader(greeting=False)
    reader.feed(bytes([Kind.RESULT]) + claimed.to_bytes(8))
    with pytest.raises(ProtocolError, match=f"a message of {claimed:,} bytes is announced"):
        reader.next_frame()


def test_a_header_that_claims_as_much_as_may_be_sent_is_waited_for() -> None:
    reader = FrameReader(greeting=False)
    reader.feed(bytes([Kind.RESULT]) + LARGEST.to_bytes(8))
    assert reader.next_frame() is None


@given(st.binary(max_size=200))
def test_any_bytes_are_read_as_a_plain_reader_reads_them(data: bytes) -> None:
    check(data)


@given(st.integers(0, 2**64))
def test_streams_that_are_nearly_ours_are_read_as_a_plain_reader_reads_them(seed: int) -> None:
    check(invent(Random(seed)))
