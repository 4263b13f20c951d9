"""The page as a text and as a file."""

from __future__ import annotations

import re
import subprocess
import sys
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest

from aioconcurrent.base.trace import Run
from aioconcurrent.exceptions import WrappedError
from aioconcurrent.report.page import Story, as_page, write_page

from .stories import HOSTILE, STORIES, T, bought_twice, hostile


class Elements(HTMLParser):
    """The elements of a page with their attributes, as a parser finds them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_nothing_in_a_page_is_loaded_or_run_but_its_own_style_and_script(story: Story) -> None:
    page = as_page(story)
    elements = Elements(page).found
    assert [tag for tag, _ in elements if tag in ("script", "style", "link", "img", "iframe")] == ["style", "script"]
    names = {name for _, attributes in elements for name in attributes}
    assert not names & {"src", "style"}
    assert not [name for name in names if name.startswith("on")]
    links = [attributes["href"] or "" for _, attributes in elements if "href" in attributes]
    assert all(link.startswith(("#", "vscode://file/")) for link in links)


def test_the_policy_allows_the_page_what_it_holds_and_nothing_else() -> None:
    page = as_page(bought_twice())
    policy = next(a["content"] for tag, a in Elements(page).found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        held = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert held is not None
        assert f"{directive} 'sha256-{b64encode(sha256(held[1].encode()).digest()).decode()}'" in policy


def test_hostile_text_is_escaped_wherever_it_stands() -> None:
    page = as_page(hostile())
    assert "<img" not in page
    assert page.count("</script>") == page.count("<script>") == 1
    assert "{{ 7|add:7 }}" in page
    assert page.count("&lt;/script&gt;") > 15
    assert HOSTILE not in page


def test_the_page_needs_no_settings_and_no_apps(tmp_path: Path) -> None:
    code = (
        "from tests.report.stories import STORIES\n"
        "from aioconcurrent.report.page import as_page\n"
        "for story in STORIES.values(): as_page(story)\n"
        "from django.apps import apps\n"
        "from django.conf import settings\n"
        "assert not settings.configured and not apps.ready\n"
    )
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env={"PATH": ""}, check=False, capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_numbers_are_written_plainly_whatever_the_projects_language(settings: object) -> None:
    for name, value in {"USE_THOUSAND_SEPARATOR": True, "LANGUAGE_CODE": "de"}.items():
        setattr(settings, name, value)
    steps = (T.sql(0, "DELETE FROM t", rowcount=12345),)
    page = as_page(Story(title="t", calls=("f()",), run=Run((1234567,), {}, steps)))
    assert "12345 rows" in page
    assert "returns 1234567" in page


def test_everything_there_is_to_tell_is_told() -> None:
    story = bought_twice()
    page = as_page(story)
    for text in (
        story.verdict,
        "Lost update",
        story.reason,
        story.test_id,
        *story.calls,
        story.token,
        "looking for a seat",
    ):
        assert text in page
    assert "--aioconcurrent-replay &#x27;aioc1:0.1.0*2.1*2.0.1:kT3wPq_a&#x27;" in page
    assert "replay(&quot;aioc1:0.1.0*2.1*2.0.1:kT3wPq_a&quot;, ...)" in page
    assert "\x1b" not in page


def test_a_test_can_be_copied_where_there_is_no_order_to_run_again() -> None:
    elements = Elements(page := as_page(bought_twice(token=""))).found
    assert [each["data-copies"] for _, each in elements if "data-copies" in each] == ["test"]
    assert [tag for tag, each in elements if each.get("id") == "test"] == ["pre"]
    assert page.count("def test_lost_update():") == 1


def test_an_error_is_shown_with_its_traceback() -> None:
    try:
        raise ValueError("no seat <left>")  # noqa: TRY301 - its traceback is what is looked at
    except ValueError as error:
        wrapped = WrappedError(error)
    page = as_page(Story(title="t", calls=("f()",), run=Run((wrapped,), {}, ())))
    assert "raises ValueError: no seat &lt;left&gt;" in page
    assert "Traceback (most recent call last)" in page


def test_a_value_that_cannot_be_shown_costs_its_own_text_alone() -> None:
    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    page = as_page(Story(title="t", calls=("f()",), run=Run((Rude(),), {}, ())))
    assert "&lt;Rude whose repr() raises RuntimeError&gt;" in page


def test_a_page_without_steps_or_calls_is_still_a_page() -> None:
    assert "0 steps, 0 calls" in as_page(Story(title="nothing", calls=(), run=Run((), {}, ())))


def test_the_file_is_named_after_the_test(tmp_path: Path) -> None:
    path = write_page(bought_twice(), tmp_path / "made" / "here")
    assert re.fullmatch(r"tests-test_shop-py-test_the_last_ticket_is_sold_once-[0-9a-f]{6}\.html", path.name)
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_names_stay_inside_the_folder_and_apart(tmp_path: Path) -> None:
    ids = ["../../etc/passwd", "a/b", "a-b", "A" * 400, "..", "", "tests/t.py::t[\x00\udc80\N{SNOWMAN}]"]
    paths = [write_page(bought_twice(test_id=test_id), tmp_path) for test_id in ids]
    assert {path.parent for path in paths} == {tmp_path}
    assert len(set(paths)) == len(ids)
    assert all(re.fullmatch(r"[\w-]+\.html", path.name, re.ASCII) and len(path.name) < 120 for path in paths)


def test_two_pages_of_one_test_do_not_overwrite_each_other(tmp_path: Path) -> None:
    first = write_page(bought_twice(explanation="the first"), tmp_path)
    second = write_page(bought_twice(explanation="the second"), tmp_path)
    assert second.name == f"{first.stem}-2.html"
    assert "the first" in first.read_text(encoding="utf-8")


def test_the_page_of_an_earlier_run_is_overwritten(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.report.stories import bought_twice\n"
        "from aioconcurrent.report.page import write_page\n"
        "print(write_page(bought_twice(), Path(sys.argv[1])))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    names = {subprocess.check_output(command, cwd=Path(__file__).parents[2]) for _ in range(2)}
    assert len(names) == 1


def test_output_that_is_no_text_does_not_cost_the_page(tmp_path: Path) -> None:
    path = write_page(bought_twice(outputs=("caf\udce9", "")), tmp_path)
    assert "caf\\udce9" in path.read_text(encoding="utf-8")
