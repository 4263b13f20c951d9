"""Projects with tests of their own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from tests.runners.sites import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A project on SQLite, in a file."""
    with Site(tmp_path) as site:
        yield site


@pytest.fixture
def site_anywhere(database: str, tmp_path: Path) -> Iterator[Site]:
    """A project on a database that is like one of ours."""
    settings: dict[str, Any] = {**connections[database].settings_dict, "TEST": {}}
    settings["NAME"] = f"{settings['NAME'].removeprefix('test_')}_plugin"
    with Site(tmp_path, settings) as site:
        yield site
