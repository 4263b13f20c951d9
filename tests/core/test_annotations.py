"""What GitHub is told of a race."""

from __future__ import annotations

import pytest

import tests.report.stories  # noqa: F401 - code is looked for in what is loaded
from aioconcurrent.report.data import annotation


def test_it_stands_at_the_first_line_of_code_that_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    code = '"""Stories written down by hand, for the tests of what shows them."""'
    sources = ["gone/shop.py:3 in buy: save()", f"report/stories.py:1 in <module>: {code}"]
    assert annotation("lost update", "A read 1: 100 %,\nand wrote", sources) == (
        "::error file=tests/report/stories.py,line=1,title=lost update::A read 1: 100 %25,%0Aand wrote"
    )


def test_without_a_place_the_title_is_told() -> None:
    assert annotation("a: b, c", "told", []) == "::error title=a%3A b%2C c::told"
