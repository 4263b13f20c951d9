"""What the tests of exploring share."""

from collections.abc import Iterator

import pytest

from aioconcurrent import options

from .places import Place


@pytest.fixture(autouse=True)
def unhurried() -> Iterator[None]:
    """No verdict is that the time was over, however busy the machine is."""
    with options(max_seconds=600):
        yield


@pytest.fixture
def place(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[Place]:
    """One of the places of `at(...)`, with its options in force."""
    chosen: Place = request.param
    with chosen.entered():
        yield chosen


@pytest.fixture
def all_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the last worker to be ready, however long after the first that is on a busy machine."""
    from .clusters import PATIENCE  # not before Django is set up

    monkeypatch.setattr("aioconcurrent.running.cluster.workers._LATER", PATIENCE)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The workers that were asked for something, as often as they answered."""
    from aioconcurrent.running.cluster.workers import WorkerThread

    answered: list[str] = []
    ask = WorkerThread.ask

    async def counted(self: WorkerThread, message: bytes) -> bytes:
        answer = await ask(self, message)
        answered.append(self.address)
        return answer

    monkeypatch.setattr(WorkerThread, "ask", counted)
    return answered
