"""Projects with tests of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runners.sites import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A project on SQLite, in a file."""
    with Site(tmp_path) as site:
        yield site


@pytest.fixture
def site_anywhere(database: str, tmp_path: Path) -> Iterator[Site]:
    """A project on a database that is like one of ours."""
    with Site.on_database(tmp_path, database) as site:
        yield site
