"""How a test runs once with each of the start methods that make processes."""

from typing import cast

import pytest


@pytest.fixture(params=["fork", "spawn"])
def start_method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Set by the environment, which reaches coroutines, threads and inner processes too."""
    monkeypatch.setenv("AIOCONCURRENT_START_METHOD", request.param)
    return cast("str", request.param)
