"""What is written for those who change the library names files, tools and scripts that are there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from aioconcurrent.exploring.anomalies.patterns import Name
from tests.documents.modules import PAGE, page

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "aioconcurrent"
PAPERS = ["CONTRIBUTING.md", "docs/architecture.md", "docs/decisions.md"]
HOMES = [ROOT, PACKAGE, PACKAGE / "exploring", PACKAGE / "databases"]


@pytest.mark.parametrize("paper", PAPERS)
def test_every_file_that_is_named_is_there(paper: str) -> None:
    modules = {path.name for path in PACKAGE.rglob("*.py")}  # where a page has named a folder it names what is in it
    named = re.findall(r"`([\w./]+(?:\.(?:py|md|toml|html)|/[a-z]\w+))`", (ROOT / paper).read_text())
    assert named
    assert [name for name in named if name not in modules and not any((home / name).exists() for home in HOMES)] == []


def test_the_page_for_readers_has_a_row_for_each_name_of_a_race() -> None:
    table = (ROOT / "docs" / "reading.md").read_text().partition("## The names")[2]
    rows = re.findall(r"^\| ([\w ,-]+) \|", table, re.MULTILINE)
    assert set(get_args(Name)) <= {name for row in rows for name in row.split(", ")}


def test_pre_commit_has_the_ruff_that_hatch_has() -> None:
    [pin] = environments()["hatch-check-code"]["dependencies"]
    assert f"rev: v{pin.removeprefix('ruff==')}\n" in (ROOT / ".pre-commit-config.yaml").read_text()


def test_contributing_names_every_script_of_hatch_and_no_other() -> None:
    scripts = {
        (name if environment == "default" else f"{environment}:{name}")
        for environment, table in environments().items()
        if not environment.startswith("hatch-")
        for name in table.get("scripts", ())
    }
    told = re.findall(r"^\| (`hatch run .*?) \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert {name for line in told for name in re.findall(r"`(?:hatch run )?([\w:]+)", line)} == scripts


def environments() -> dict[str, dict[str, list[str]]]:
    """Those of hatch, by name."""
    found: dict[str, dict[str, list[str]]] = tomllib.loads((ROOT / "hatch.toml").read_text())["envs"]
    return found


def test_the_page_of_modules_says_what_the_modules_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tests.documents.modules"
