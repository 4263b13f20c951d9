"""Code around the line that a step names."""

from __future__ import annotations

from pathlib import Path

import pytest

from aioconcurrent.report.excerpt import CodeLine, Excerpt, excerpt, place

CODE = """\
import shop


def buy(pk):
    show = find(pk)

    show.save()


# the end
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "excerpted").mkdir()
    (tmp_path / "excerpted" / "code.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)


def test_the_lines_around_are_shown_without_their_common_indent() -> None:
    assert excerpt("excerpted/code.py:7 in buy: show.save()").lines == [
        CodeLine(4, "def buy(pk):", here=False),
        CodeLine(5, "    show = find(pk)", here=False),
        CodeLine(6, "", here=False),
        CodeLine(7, "    show.save()", here=True),
    ]


def test_the_file_that_the_lines_were_found_in_is_known(tmp_path: Path) -> None:
    assert excerpt("excerpted/code.py:7: show.save()").file == str(tmp_path / "excerpted" / "code.py")
    assert excerpt("excerpted/code.py:7: show.delete()").file == ""


def test_a_module_that_is_loaded_is_found_wherever_it_lies() -> None:
    lines = excerpt("core/test_excerpt.py:1 in <module>").lines
    assert lines[0] == CodeLine(1, '"""Code around the line that a step names."""', here=True)


@pytest.mark.parametrize(
    "source", ["excerpted/code.py:7 in buy: show.delete()", "excerpted/code.py:700: show.delete()"]
)
def test_code_that_has_changed_is_not_shown_for_what_it_was(source: str) -> None:
    assert [line.text for line in excerpt(source).lines] == ["show.delete()"]


@pytest.mark.parametrize("source", ["nowhere/at_all.py:3 in f", "no source", ""])
def test_where_nothing_is_found_nothing_is_shown(source: str) -> None:
    assert excerpt(source) == Excerpt()


def test_a_place_is_the_source_without_its_code() -> None:
    assert place("shop/services.py:42 in buy: show.save()") == "shop/services.py:42 in buy"
    assert place("shop/services.py:42") == "shop/services.py:42"
