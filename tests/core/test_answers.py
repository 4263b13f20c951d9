"""What calls answered, in a few words."""

from __future__ import annotations

import pytest

from aioconcurrent import WrappedError
from aioconcurrent.exploring.judging.evidence import answers
from aioconcurrent.http import Response


def response(status: int, body: str = "", **headers: str) -> Response:
    return Response(status, body.encode(), {name.replace("_", "-"): value for name, value in headers.items()}, {})


FORM = '<ul class="errorlist" id="x"><li>This field is <b>required</b> &amp; short.</li></ul>' * 2


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (True, "returns True"),
        ("x" * 200, f"returns '{'x' * 76}..."),
        (WrappedError(LookupError("no seat\nat all"), "call"), "raises LookupError: no seat"),
        (WrappedError(LookupError(), "call"), "raises LookupError"),
        (response(404, "<h1>Not Found</h1>", Content_Type="text/html"), "returns <Response 404>"),
        (response(302, Location="/login/?next=/buy/"), "returns <Response 302> to /login/?next=/buy/"),
        (
            response(200, f"<form>{FORM}</form>", Content_Type="text/html; charset=utf-8"),
            "returns <Response 200> with the errors 'This field is required & short.'",
        ),
        (
            response(401, '{"detail": "who?"}', Content_Type="application/json"),
            'returns <Response 401> saying \'{"detail": "who?"}\'',
        ),
    ],
)
def test_an_answer_is_told_by_what_explains_it(outcome: object, told: str) -> None:
    assert answers([outcome, None]) == f"one after the other, A {told}, B returns None"
