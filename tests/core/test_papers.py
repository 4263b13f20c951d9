"""What is written for those who change the library names files and tools that are there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAPERS = ["CONTRIBUTING.md", "docs/architecture.md", "docs/decisions.md"]
HOMES = [ROOT, ROOT / "aioconcurrent", ROOT / "aioconcurrent" / "exploring", ROOT / "aioconcurrent" / "databases"]


@pytest.mark.parametrize("paper", PAPERS)
def test_every_file_that_is_named_is_there(paper: str) -> None:
    named = re.findall(r"`([\w./]+(?:\.py|\.md|\.toml|/[a-z]\w+))`", (ROOT / paper).read_text())
    assert named
    assert [name for name in named if not any((home / name).exists() for home in HOMES)] == []


def test_pre_commit_has_the_ruff_that_hatch_has() -> None:
    environments = tomllib.loads((ROOT / "hatch.toml").read_text())["envs"]
    [pin] = environments["hatch-check-code"]["dependencies"]
    assert f"rev: v{pin.removeprefix('ruff==')}\n" in (ROOT / ".pre-commit-config.yaml").read_text()
