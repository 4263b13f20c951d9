"""The index of a folder of pages, and which of its pages are of races that are gone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from django.utils.safestring import mark_safe

from .page import content_hash, page_names, rendered, style_of_pages

INDEX = "index.html"
_GENERATOR = "aioconcurrent"


@dataclass(frozen=True, slots=True)
class _Entry:
    """One page: what it says about itself, and whether this run has written it."""

    file: str
    title: str
    heading: str
    explanation: str
    is_new: bool


def keep_index(folder: Path, pages: Mapping[str, Collection[str]]) -> Path | None:
    """Remove the pages of races that are gone, and write an index of the others; None if there is no page.

    Pages of tests that did not run stay.

    Args:
        folder: Where the pages are.
        pages: Of each test that ran, by its id, the names of the files that were written about it.
    """
    written = {name for names in pages.values() for name in names}
    for test in pages:
        for page in page_names(folder, test):
            if page.name not in written and _read(page) is not None:
                page.unlink()
                page.with_suffix(".json").unlink(missing_ok=True)
    found = [(page, head) for page in sorted(folder.glob("*.html")) if (head := _read(page)) is not None]
    entries = [
        _Entry(
            page.name,
            title=head.get("test") or head.get("title", ""),
            heading=head.get("h1", ""),
            explanation=head.get("description", ""),
            is_new=page.name in written,
        )
        for page, head in found
    ]
    path = folder / INDEX
    if not entries:
        path.unlink(missing_ok=True)
        return None
    style = style_of_pages()
    context = {
        "style": mark_safe(style),
        "style_hash": content_hash(style),
        "parts": [
            (name, those)
            for name, is_new in (("This run", True), ("From earlier runs, of tests that did not run now", False))
            if (those := sorted((each for each in entries if each.is_new is is_new), key=lambda each: each.title))
        ],
    }
    path.write_text(rendered("index.html", context), encoding="utf-8", newline="\n")
    return path


class _Head(HTMLParser):
    """What a page says about itself in its head, and in its first heading."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "meta" and given.get("name"):
            self.texts[str(given["name"])] = given.get("content") or ""
        self._inside = tag if tag in ("title", "h1") else ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[self._inside] = self.texts.get(self._inside, "") + data

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""


def _read(page: Path) -> dict[str, str] | None:
    """What a page of ours says about itself; None of any other file."""
    parser = _Head()
    with page.open(encoding="utf-8", errors="replace") as file:
        while "h1" not in parser.texts and (line := file.readline()):
            parser.feed(line)
    return parser.texts if parser.texts.get("generator") == _GENERATOR else None
