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
