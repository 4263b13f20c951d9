"""Every block of Python in the documents runs, and the tutorial ends as it says."""

from __future__ import annotations

import re
from pathlib import Path

from tests.documents.blocks import ROOT, Project, blocks

TUTORIAL = "docs/tutorial.md"


def test_the_code_in_the_documents_runs(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add_app()
    pages = [str(page.relative_to(ROOT)) for page in ROOT.glob("docs/*.md")]
    count = 0
    for page in ("README.md", *sorted(pages)):
        for number, block in enumerate(blocks(page)):
            if not block.place:
                name = re.sub(r"\W", "_", page.removesuffix(".md").lower())
                project.write(f"test_{name}_{number}.py", block.as_test)
                count += 1
    printed = project.pytest("-q", "--tb=short", "-W", "error::UserWarning", *map(str, tmp_path.glob("test_*.py")))
    assert re.search(rf"^{count - 1} passed, 1 xfailed", printed, re.MULTILINE), printed


def test_the_tutorial_finds_its_race_and_mends_it_on_the_database_that_it_has(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.start_app()
    code = blocks(TUTORIAL)
    *broken, mended = [block for block in code if block.place]
    for block in broken:
        project.write(block.place, block.code)
    project.make_migrations()
    printed = project.pytest("shop/test_explore.py", "-q")
    assert "race (5 schedules run): lost update, with 1 preemption" in printed, printed
    explanation = re.search(r"^lost update: .*$", (ROOT / TUTORIAL).read_text(), re.MULTILINE)
    assert explanation is not None
    assert explanation[0] in printed, printed
    text = (ROOT / TUTORIAL).read_text()
    assert set(re.findall(r"aioc1:[^`\s]+", text)) <= set(re.findall(r"aioc1:[^\s\"]+", printed)), printed
    assert f"hint: {text.partition('hint: ')[2].splitlines()[0]}" in printed
    project.write(mended.place, mended.code)
    assert re.search(r"^2 passed", project.pytest("shop/test_explore.py", "shop/test_race.py", "-q"), re.MULTILINE)
