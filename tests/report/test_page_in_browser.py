"""The page in a real browser: how it is used, and what it never does."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.keys import Keys

from .browser import Browser
from .stories import HOSTILE, STORIES

every_story = pytest.mark.parametrize("story", STORIES)
CURRENT = ".rows > .current"


def label(browser: Browser) -> str:
    return browser.text(".panel .label")


@pytest.fixture
def two(browser: Browser) -> Browser:
    browser.open("two calls")
    return browser


@every_story
def test_the_page_asks_for_nothing_but_itself_and_breaks_no_rule(browser: Browser, story: str) -> None:
    browser.open(story)
    browser.press("j", "j", "k")
    requested = browser.requested()
    assert len(requested) == 1
    assert requested[0].startswith("file://")
    assert browser.complaints() == []


def test_text_of_a_project_never_becomes_part_of_the_page(browser: Browser) -> None:
    browser.open("hostile")
    browser.press("j")
    assert not browser.title().startswith("owned")
    assert browser.run("return document.querySelectorAll('img, script, style').length") == 2
    assert browser.text("h1").lower() == HOSTILE.lower()
    assert HOSTILE in browser.text("#call-0")


@pytest.mark.parametrize("width", [360, 800, 1280])
@every_story
def test_nothing_sticks_out_at_the_side(browser: Browser, story: str, width: int) -> None:
    browser.resize(width, 740)
    browser.open(story)
    assert browser.run("return document.documentElement.scrollWidth") <= width
    clipped = (
        "return [...document.querySelectorAll('.cell')].filter(each => each.scrollWidth > each.offsetWidth).length"
    )
    assert browser.run(clipped) == 0


def test_stepping_starts_at_the_first_marked_step(two: Browser) -> None:
    assert label(two) == "Step 2 of 8"
    assert "shop.py:10" in two.text(CURRENT)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["j"], "Step 3 of 8"),
        (["k"], "Step 1 of 8"),
        ([Keys.ARROW_DOWN, Keys.ARROW_DOWN], "Step 4 of 8"),
        ([Keys.ARROW_RIGHT], "Step 3 of 8"),
        ([Keys.ARROW_UP], "Step 1 of 8"),
        ([Keys.ARROW_LEFT, Keys.ARROW_LEFT], "Step 1 of 8"),
        ([Keys.HOME], "Step 1 of 8"),
        ([Keys.END], "B ends"),
        ([Keys.END, "j", "k"], "Step 8 of 8"),
        (["n"], "Step 4 of 8"),
        (["n", "n", "n"], "Step 2 of 8"),
        (["p"], "Step 6 of 8"),
    ],
)
def test_keys_step_through_the_run(two: Browser, keys: list[str], expected: str) -> None:
    two.press(*keys)
    assert label(two) == expected
    assert len(two.texts(CURRENT)) == 1
    assert two.run("return document.activeElement.closest('.current') !== null")


def test_keys_with_a_modifier_are_left_to_the_browser(two: Browser) -> None:
    two.run(
        "document.dispatchEvent(new KeyboardEvent('keydown', {key: 'j', ctrlKey: true, bubbles: true}));"
        "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft', altKey: true, bubbles: true}))"
    )
    assert label(two) == "Step 2 of 8"


def test_the_current_step_stays_in_sight(browser: Browser) -> None:
    browser.open("twenty calls")
    inside = """
        const box = document.querySelector('.rows > .current').getBoundingClientRect();
        const heads = document.querySelector('.heads').getBoundingClientRect();
        return heads.top >= -1 && box.top >= heads.bottom && box.bottom <= innerHeight"""
    for keys in ([Keys.END], [Keys.HOME], ["n"], ["k", "k", "k"]):
        browser.press(*keys)
        assert browser.run(inside), keys


def test_each_step_is_said_aloud_with_what_the_calls_are_at(two: Browser) -> None:
    two.press(Keys.HOME, *"jjjjj")
    said = two.run("return document.querySelector('[role=status]').textContent")
    assert said.startswith("Step 6 of 8, B: shop.py:15 show.save()")
    assert said.endswith("waits for A. A in a transaction, B waits for A")


def test_the_calls_are_shown_as_they_are_after_the_step(two: Browser) -> None:
    two.press(Keys.HOME)
    assert two.texts(".now li") == ["A\nin a transaction", "B\nnot begun"]
    two.press(*"jjjjj")
    assert two.texts(".now li") == ["A\nin a transaction", "B\nwaits for A"]
    two.press(Keys.END)
    assert two.texts(".now li") == ["A\nreturns True", "B\nreturns True"]


def test_the_details_are_those_of_the_step(two: Browser) -> None:
    two.press("p")
    shown = two.text(".panel .body").splitlines()
    assert "Waited for A until step 7, A's COMMIT" in shown
    assert shown[shown.index("Parameters") + 1 :][:3] == ["'The Mousetrap'", "0", "1"]
    assert "1 row changed" in shown
    assert 'WHERE "demo_show"."id" = 1' in shown


def test_hovering_shows_details_for_as_long_as_it_lasts(two: Browser) -> None:
    two.hover(".rows > :nth-child(3) .cell")
    assert "INSERT INTO" in two.text(".panel .body")
    two.hover("h1")
    assert "SELECT" in two.text(".panel .body")
    assert label(two) == "Step 2 of 8"


def test_focus_and_clicks_choose_a_step(two: Browser) -> None:
    two.run("document.querySelectorAll('.rows .cell')[2].focus()")
    assert label(two) == "Step 3 of 8"
    two.find(".rows > :nth-child(4) .cell").click()
    assert label(two) == "Step 4 of 8"
    two.press("n")
    two.find(".panel .edge a").click()
    assert label(two) == "Step 7 of 8"


def test_the_tab_key_meets_one_step_and_not_all(two: Browser) -> None:
    assert two.run("return document.querySelectorAll('.rows [tabindex=\"0\"]').length") == 1
    two.press("j")
    assert two.run("return document.querySelectorAll('.rows [tabindex=\"0\"]').length") == 1


def test_arrow_keys_scroll_the_details_where_these_have_the_focus(two: Browser) -> None:
    two.run("document.querySelector('.panel .body').focus()")
    two.press(Keys.ARROW_DOWN)
    assert label(two) == "Step 2 of 8"


def test_what_is_to_be_pasted_can_be_copied(two: Browser) -> None:
    two.allow("clipboardReadWrite", "clipboardSanitizedWrite")
    two.find(".replay dd:last-of-type button").click()
    assert two.run("return navigator.clipboard.readText()") == 'replay("aioc1:0.1.0*2.1*2.0.1:kT3wPq_a", ...)'
    assert two.text(".replay dd:last-of-type button") == "Copied"


def test_without_a_clipboard_the_text_is_selected(two: Browser) -> None:
    two.run("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    two.find(".replay dd button").click()
    assert two.run("return getSelection().toString()") == "aioc1:0.1.0*2.1*2.0.1:kT3wPq_a"


def test_the_bars_of_a_recorded_race_lead_to_their_steps(browser: Browser) -> None:
    browser.open("on one clock")
    assert browser.run("return document.querySelectorAll('.timeline .bar').length") == 14
    assert browser.run("return document.querySelectorAll('.timeline .waiting').length") == 2
    assert browser.run("return document.querySelectorAll('.timeline .link').length") == 2
    browser.find(".timeline a[data-step='9']").click()
    assert label(browser) == "Step 9 of 14"
    assert browser.run("return document.querySelector('.timeline .current').dataset.step") == "9"


def columns(browser: Browser) -> int:
    """How many different places at the left the texts of the steps begin at."""
    script = "return new Set([...document.querySelectorAll('.step .cell')].map(each => each.offsetLeft)).size"
    found: int = browser.run(script)
    return found


def test_lanes_stand_side_by_side_where_there_is_room(browser: Browser) -> None:
    browser.open("two calls")
    assert columns(browser) == 2
    browser.resize(360, 740)
    assert columns(browser) == 1
    assert browser.text(".rows > li .chip") == "A"


def test_many_lanes_become_rails_with_the_texts_beside_them(browser: Browser) -> None:
    browser.open("twenty calls")
    assert columns(browser) == 1
    chips = (
        "return new Set([...document.querySelectorAll('.rows .chip')].map(each => Math.round(each.offsetLeft))).size"
    )
    assert browser.run(chips) == 20


def test_on_a_phone_the_details_open_below_and_close_again(browser: Browser) -> None:
    browser.resize(360, 740)
    browser.open("two calls")
    assert not browser.find(".panel .body").is_displayed()
    browser.run("document.querySelector('.rows').scrollIntoView()")
    browser.find(".rows > :nth-child(1) .cell").click()
    assert browser.find(".panel .body").is_displayed()
    browser.find(".panel .opens").click()
    assert not browser.find(".panel .body").is_displayed()


def test_a_big_page_loads_and_steps_quickly(browser: Browser) -> None:
    browser.open("twenty calls")
    assert browser.run("return performance.getEntriesByType('navigation')[0].loadEventEnd") < 5000
    stepping = """
        const key = new KeyboardEvent('keydown', {key: 'j', bubbles: true}), begin = performance.now();
        for (let count = 0; count < 100; count += 1) document.body.dispatchEvent(key);
        return (performance.now() - begin) / 100"""
    assert browser.run(stepping) < 100


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize(
    "selector",
    [".test", ".explanation", ".verdict", ".number", ".place", ".action", ".result", ".result.waits", ".now"],
)
def test_texts_can_be_read_in_light_and_dark(two: Browser, colours: str, selector: str) -> None:
    two.emulate("screen", colours)
    assert two.run(CONTRAST, f"{selector}") >= 4.5


def test_dark_is_dark_and_paper_is_white(two: Browser) -> None:
    two.emulate("screen", "dark")
    assert two.run("return getComputedStyle(document.documentElement).backgroundColor") == "rgb(23, 24, 27)"
    two.emulate("print", "dark")
    assert two.run("return getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"


def test_print_has_the_details_of_the_marked_steps_and_nothing_to_press(two: Browser) -> None:
    two.emulate("print", "light")
    assert not two.find(".panel").is_displayed()
    articles = "[...document.querySelectorAll('.details article')]"
    printed = two.run(f"return {articles}.filter(each => each.offsetHeight).map(each => each.id)")
    assert printed == ["step-2", "step-4", "step-6"]
    assert two.printed().startswith(b"%PDF")


def test_without_scripts_all_details_are_there_to_be_read(two: Browser) -> None:
    two.run("document.documentElement.classList.remove('scripted')")
    assert all(two.find(f"#step-{number}").is_displayed() for number in range(1, 9))


# The ratio of WCAG 2, between an element's colour and the first ground that is not transparent.
CONTRAST = """
const light = colour => {
  const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map(Number).map(part => part / 255)
    .map(part => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b;
};
const element = document.querySelector(arguments[0]);
let ground = element;
while (/, 0\\)$|transparent/.test(getComputedStyle(ground).backgroundColor)) ground = ground.parentElement;
const both = [getComputedStyle(element).color, getComputedStyle(ground).backgroundColor].map(light);
return (Math.max(...both) + .05) / (Math.min(...both) + .05);
"""


FOLD = ".rows > .folded"
SHOWN = "return [...document.querySelectorAll('.rows > li')].filter(row => row.offsetHeight).length"


@pytest.fixture
def folded(browser: Browser) -> Browser:
    browser.open("a request")
    return browser


def test_steps_that_nobody_else_could_notice_are_folded(folded: Browser) -> None:
    assert folded.texts(f"{FOLD} .action") == ["... 5 steps that touch nothing of the other call's"] * 2
    assert folded.run(SHOWN) == 15
    assert folded.find(f"{FOLD} a").get_attribute("aria-expanded") == "false"


def test_a_click_unfolds_steps_and_another_folds_them(folded: Browser) -> None:
    folded.find(f"{FOLD} .action").click()
    assert folded.run(SHOWN) == 20
    assert folded.find(f"{FOLD} a").get_attribute("aria-expanded") == "true"
    assert label(folded) == "Steps 2 to 6 of 20"
    folded.find(f"{FOLD} .action").click()
    assert folded.run(SHOWN) == 15


def test_the_enter_key_unfolds_the_steps_where_it_is(folded: Browser) -> None:
    folded.press(Keys.HOME, "j", Keys.ENTER, "j")
    assert label(folded) == "Step 2 of 20"
    assert folded.run(SHOWN) == 20


def test_one_key_unfolds_all_and_folds_all_with_the_step_where_it_was(folded: Browser) -> None:
    folded.press("f")
    assert folded.run(SHOWN) == 25
    assert label(folded) == "Step 14 of 20"
    folded.press(Keys.HOME, "j", "j", "j")
    assert label(folded) == "Step 3 of 20"
    folded.press("f")
    assert folded.run(SHOWN) == 15
    assert label(folded) == "Steps 2 to 6 of 20"


def test_keys_step_over_what_is_folded(folded: Browser) -> None:
    folded.press(Keys.HOME, "j", "j")
    assert label(folded) == "Step 7 of 20"
    folded.press("k", "k")
    assert label(folded) == "Step 1 of 20"


def test_a_story_without_folds_has_no_use_for_their_key(two: Browser) -> None:
    two.press("f")
    assert label(two) == "Step 2 of 8"
    assert "fold" not in two.text(".keys")


def test_without_scripts_nothing_is_folded(folded: Browser) -> None:
    folded.run("document.documentElement.classList.remove('scripted')")
    assert folded.run(SHOWN) == 23
    assert folded.texts(FOLD) == ["", ""]
