"""A race as a line of output that GitHub shows as a note at a line of code in a pull request."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from .excerpt import excerpt

if TYPE_CHECKING:
    from collections.abc import Iterable

# docs.github.com/actions/reference/workflows-and-actions/workflow-commands
_ESCAPES = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_ESCAPES_OF_PROPERTIES = {**_ESCAPES, **str.maketrans({":": "%3A", ",": "%2C"})}


def annotation(title: str, text: str, sources: Iterable[str]) -> str:
    """Return the line.

    Args:
        title: The name of the race.
        text: What happened.
        sources: Lines of the application, as `Step.source` has them; the first that can be found is the place.
    """
    place = next((found for source in sources if (found := excerpt(source)).file), None)
    properties = {"title": title}
    if place is not None:
        top = os.environ.get("GITHUB_WORKSPACE") or os.curdir
        file = Path(os.path.relpath(place.file, top)).as_posix()
        properties = {"file": file, "line": str(place.number), **properties}
    told = ",".join(f"{name}={value.translate(_ESCAPES_OF_PROPERTIES)}" for name, value in properties.items())
    return f"::error {told}::{text.translate(_ESCAPES)}"
