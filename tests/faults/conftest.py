"""The rule that every fault test is held to: nothing is left behind."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from aioconcurrent.engine.fork import close_template
from tests.faults import calls
from tests.faults.processes import MARK, left_of, started_here
from tests.faults.races import leaving_nothing, rest

_numbers = itertools.count()

START_METHODS = ["fork", "spawn"]
WAYS = [("fork", "asyncio"), ("spawn", "trio")]  # neither asks for the other


@pytest.fixture(params=START_METHODS)
def start_method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs the test once for each way to start processes."""
    monkeypatch.setenv("AIOCONCURRENT_START_METHOD", request.param)
    return cast("str", request.param)


@pytest.fixture(scope="module", params=WAYS, ids="-".join)
def way(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A start method and an event loop, for a race that many tests look at."""
    return cast("tuple[str, str]", request.param)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder in which calls sign in."""
    folder = tmp_path / "signed-in"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with leaving_nothing(tmp_path_factory.mktemp("temporary")):
        yield


@pytest.fixture(autouse=True, scope="module")
def no_process_is_left() -> Iterator[None]:
    """No process that this module started lives on when the template, which is kept for the next race, is closed."""
    close_template()
    os.environ[MARK] = f"{os.getpid()}-module-{next(_numbers)}"
    rest()
    yield
    close_template()
    left = left_of(started_here())
    for pid in left:
        calls.kill(pid)
    assert not left
