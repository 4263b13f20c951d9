"""What calls answered, in a few words each: where they never met, that mostly says why."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING

from .._text import text_of
from .._trace import call_name
from ..exceptions import WrappedError
from ..http import Response
from ..report.values import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONGEST = 80
_ERROR_LISTS = re.compile(r"<ul[^>]*\berrorlist\b[^>]*>(.*?)</ul>", re.DOTALL)  # as Django's forms write them
_TAG = re.compile(r"<[^>]+>")


def answers(outcomes: Sequence[object]) -> str:
    """Tell what each call came to, in a sentence."""
    told = [f"{call_name(call)} {answer(outcome)}" for call, outcome in enumerate(outcomes)]
    return f"one after the other, {', '.join(told)}"


def answer(outcome: object) -> str:
    """Tell what a call came to, as "returns 3"."""
    error = outcome.error if isinstance(outcome, WrappedError) else outcome
    if isinstance(error, BaseException):
        lines = text_of(error).strip().splitlines()
        return f"raises {type(error).__name__}" + (f": {_cut(lines[0])}" if lines else "")
    if isinstance(outcome, Response):
        return f"returns <Response {outcome.status_code}>{_said(outcome)}"
    return f"returns {shown(outcome, _LONGEST)}"


def _said(response: Response) -> str:
    """Why a response refuses: where it sends to, the errors of its form, or its body if that is data."""
    if 300 <= response.status_code < 400:
        return f" to {_cut(response.headers.get('Location', '?'))}"
    kind = response.headers.get("Content-Type", "")
    if "html" in kind:
        found = [_TAG.sub(" ", each) for each in _ERROR_LISTS.findall(response.text)]
        errors = "; ".join(dict.fromkeys(" ".join(unescape(each).split()) for each in found))
        return f" with the errors {_cut(errors)!r}" if errors else ""
    if response.status_code >= 400 and ("json" in kind or "text/plain" in kind):
        return f" saying {_cut(response.text.strip())!r}"
    return ""


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
