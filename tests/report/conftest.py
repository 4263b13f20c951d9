"""A real browser for the tests of the page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .browser import BROWSERS, DRIVER, Browser


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium without a window, one for all tests of a process."""
    program, driver = next(filter(None, map(shutil.which, BROWSERS)), None), shutil.which(DRIVER)
    if program is None or driver is None:
        missing = f"no Chromium with a {DRIVER} here; Debian's packages are chromium and chromium-driver"
        if os.environ.get("AIOCONCURRENT_TEST_REQUIRE_SERVERS"):
            pytest.fail(f"AIOCONCURRENT_TEST_REQUIRE_SERVERS is set, but there is {missing}")
        pytest.skip(missing)
    with Browser(Path(program), Path(driver), tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser) -> Browser:
    """The same, with a desktop's window and light colours, and nothing logged so far."""
    chromium.reset()
    return chromium
