"""What the tests of exploring share."""

from collections.abc import Iterator

import pytest

from .places import Place


@pytest.fixture
def place(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[Place]:
    """One of the places of `at(...)`, with its options in force."""
    chosen: Place = request.param
    with chosen.entered():
        yield chosen
