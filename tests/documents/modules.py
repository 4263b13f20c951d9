"""The page that lists the modules, written from their first sentences: `python -m tests.documents.modules`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "modules.md"
_HEAD = """# The modules

Every file with its first sentence, by folder. [How it is built](architecture.md) says how they belong together.

This page is written by `python -m tests.documents.modules`.
"""


def page() -> str:
    """What the page has to be."""
    files = sorted((ROOT / "aioconcurrent").rglob("*.py"), key=lambda path: (path.parent.parts, path.name))
    folders = groupby(files, key=lambda path: path.parent)
    return _HEAD + "".join(text for folder, own in folders for text in _part(folder, own))


def _part(folder: Path, files: Iterator[Path]) -> Iterator[str]:
    sentences = {path.name: sentence for path in files if (sentence := _first_paragraph(path))}
    if sentences:
        yield f"\n## {folder.relative_to(ROOT).as_posix()}\n"
    if about := sentences.pop("__init__.py", ""):
        yield f"\n{about}\n"
    if sentences:
        yield "\n| | |\n|---|---|\n"
        yield from (f"| `{name}` | {sentence} |\n" for name, sentence in sentences.items())


def _first_paragraph(path: Path) -> str:
    documentation = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(documentation.partition("\n\n")[0].split())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
