"""The index of a folder of pages, and the pages that go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from aioconcurrent.report import page
from aioconcurrent.report.index import keep_index
from aioconcurrent.report.page import write_page

from .stories import HOSTILE, bought_twice, hostile


@pytest.fixture(autouse=True)
def new_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "_written", set())


def written(folder: Path, test: str) -> str:
    path = write_page(replace(bought_twice(), test_id=test), folder)
    path.with_suffix(".json").write_text("{}")
    return path.name


def test_pages_of_races_that_are_gone_go_and_others_stay(tmp_path: Path) -> None:
    mine = tmp_path / "notes.html"
    mine.write_text("<h1>mine</h1>")
    gone, still, not_run = (written(tmp_path, f"{name}.py::test") for name in ("gone", "still", "not_run"))
    written(tmp_path, "gone.py::test")  # of another round
    index = keep_index(tmp_path, {"gone.py::test": [], "still.py::test": [still], "never.py::test": []})
    assert index == tmp_path / "index.html"
    left = {path.name for path in tmp_path.iterdir()}
    data = {str(Path(name).with_suffix(".json")) for name in (still, not_run)}
    assert left == {still, not_run, *data, "index.html", "notes.html"}
    text = index.read_text()
    assert text.index("This run") < text.index(still) < text.index("From earlier runs") < text.index(not_run)
    assert gone not in text
    assert "Lost update" in text
    assert "B read seats_left=1 before A&#x27;s update" in text


def test_an_index_without_pages_goes_too(tmp_path: Path) -> None:
    only = written(tmp_path, "only.py::test")
    assert keep_index(tmp_path, {"only.py::test": [only]}) is not None
    assert keep_index(tmp_path, {"only.py::test": []}) is None
    assert list(tmp_path.iterdir()) == []


def test_text_of_a_project_is_no_part_of_the_index(tmp_path: Path) -> None:
    path = write_page(hostile(), tmp_path)
    index = keep_index(tmp_path, {HOSTILE: [path.name]})
    assert index is not None
    assert "<script" not in index.read_text()
    assert "<img" not in index.read_text()
    assert "onerror" in index.read_text()  # as text
