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


FOLD = ".rows > .folded"
SHOWN = "return [...document.querySelectorAll('.rows > li')].filter(row => row.offsetHeight).length"
CHOOSE = """
    const select = document.querySelector('.filter select');
    select.value = [...select.options].find(each => each.text === arguments[0]).value;
    select.dispatchEvent(new Event('change', {bubbles: true}))"""


@pytest.fixture
def folded(browser: Browser) -> Browser:
    browser.open("a request")
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


@every_story
def test_nothing_sticks_out_at_the_side(browser: Browser, story: str) -> None:
    browser.open(story)
    clipped = (
        "return [...document.querySelectorAll('.cell')].filter(each => each.scrollWidth > each.offsetWidth).length"
    )
    for width in (360, 800, 1280):
        browser.resize(width, 740)
        assert browser.run("return document.documentElement.scrollWidth") <= width, width
        assert browser.run(clipped) == 0, width


def test_stepping_starts_at_the_first_marked_step(two: Browser) -> None:
    assert label(two) == "Step 2 of 8"
    assert "shop.py:10" in two.text(CURRENT)


def test_keys_step_through_the_run(browser: Browser) -> None:
    for keys, expected in (
        (["j"], "Step 3 of 8"),
        (["k"], "Step 1 of 8"),
        (["j", Keys.ARROW_DOWN], "Step 4 of 8"),
        (["j", Keys.ARROW_UP], "Step 2 of 8"),
        (["j", Keys.HOME], "Step 1 of 8"),
        (["j", Keys.END], "B ends"),
        (["j", Keys.END, "j", "k"], "Step 8 of 8"),
        (["n"], "Step 4 of 8"),
        (["n", "n", "n"], "Step 2 of 8"),
        (["p"], "Step 6 of 8"),
    ):
        browser.open("two calls")
        browser.press(*keys)
        assert label(browser) == expected
        assert len(browser.texts(CURRENT)) == 1
        assert browser.run("return document.activeElement.closest('.current') !== null")


def test_the_keys_that_scroll_do_so_until_the_steps_have_the_focus(two: Browser) -> None:
    left_to_the_page = """
        const key = new KeyboardEvent('keydown', {key: arguments[1], bubbles: true, cancelable: true});
        return document.querySelector(arguments[0]).dispatchEvent(key)"""
    for key in ("ArrowDown", "ArrowUp", "Home", "End", "ArrowRight", " "):
        assert two.run(left_to_the_page, "body", key), key
    assert label(two) == "Step 2 of 8"
    assert not two.run(left_to_the_page, ".rows .cell", "ArrowDown")
    assert two.run(left_to_the_page, ".rows .cell", "ArrowRight")


def test_keys_with_a_modifier_are_left_to_the_browser(two: Browser) -> None:
    two.run(
        "document.dispatchEvent(new KeyboardEvent('keydown', {key: 'j', ctrlKey: true, bubbles: true}));"
        "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft', altKey: true, bubbles: true}))"
    )
    assert label(two) == "Step 2 of 8"


def test_the_current_step_stays_in_sight(browser: Browser) -> None:
    browser.open("twenty calls")
    browser.press("j")
    inside = """
        const box = document.querySelector('.rows > .current').getBoundingClientRect();
        const heads = document.querySelector('.heads').getBoundingClientRect();
        return heads.top >= -1 && box.top >= heads.bottom && box.bottom <= innerHeight"""
    for keys in ([Keys.END], [Keys.HOME], ["n"], ["k", "k", "k"]):
        browser.press(*keys)
        assert browser.run(inside), keys


def test_each_step_is_said_aloud_with_what_the_calls_are_at(two: Browser) -> None:
    two.press("k", *"jjjjj")
    said = two.run("return document.querySelector('[role=status]').textContent")
    assert said.startswith("Step 6 of 8, B: shop.py:15 show.save()")
    assert said.endswith("waits for A. A in a transaction, B waits for A")


def test_the_calls_are_shown_as_they_are_after_the_step(two: Browser) -> None:
    two.press("k")
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
    for button, copied in (
        (".replay button", two.find(".replay code").text),
        (".replay button[data-copies=test]", "def test_lost_update():\n    pass\n"),
    ):
        label = two.find(button).text
        two.find(button).click()
        assert two.run("return navigator.clipboard.readText()") == copied
        assert two.text(button) == "Copied"
        assert label in ("Copy", "Copy as a test")


def test_without_a_clipboard_the_text_is_selected(two: Browser) -> None:
    two.run("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    two.find(".replay button").click()
    assert two.run("return getSelection().toString()").endswith(
        "--aioconcurrent-replay 'aioc1:0.1.0*2.1*2.0.1:kT3wPq_a'"
    )
    two.find(".replay button[data-copies=test]").click()
    assert two.run("return getSelection().toString()").startswith("def test_lost_update():")


def test_the_bars_of_a_recorded_race_lead_to_their_steps(browser: Browser) -> None:
    browser.open("on one clock")
    assert browser.run("return document.querySelectorAll('.timeline .bar').length") == 14
    assert browser.run("return document.querySelectorAll('.timeline .waiting').length") == 2
    assert browser.run("return document.querySelectorAll('.timeline .link').length") == 2
    browser.find(".timeline a[data-step='9']").click()
    assert label(browser) == "Step 9 of 14"
    assert browser.run("return document.querySelector('.timeline .current').dataset.step") == "9"


def test_an_arrow_leads_from_the_read_to_the_write_that_made_it_stale(two: Browser) -> None:
    ends = """
        const line = document.querySelector('.arrows .line'), ground = document.querySelector('.arrows');
        const box = ground.getBoundingClientRect(), row = n => document.querySelectorAll('.rows > li')[n - 1];
        const at = part => line.getPointAtLength(line.getTotalLength() * part).y + box.top;
        const within = (y, n) => y > row(n).getBoundingClientRect().top && y < row(n).getBoundingClientRect().bottom;
        return document.querySelectorAll('.arrows .line').length === 1 && within(at(0), 2) && within(at(1), 4)"""
    assert two.run(ends)
    assert "no longer true after step 4" in two.text(".rows > :nth-child(2)")
    two.resize(360, 740)
    drawn = f"requestAnimationFrame(() => setTimeout(() => done((() => {{ {ends} }})())))"
    assert two.run(f"return new Promise(done => {drawn})")


def test_the_cycle_is_told_with_links_to_its_steps(two: Browser) -> None:
    assert two.text(".cycle") == (
        "In step 2 B read what A then changed in step 4, so B comes before A; in step 6 B wrote over what A had "
        "written in step 4, so A comes before B: no order of the calls one after the other has both."
    )
    two.find(".cycle a:nth-of-type(3)").click()
    assert label(two) == "Step 6 of 8"


def test_the_serial_endings_stand_beside_that_of_the_run(two: Browser) -> None:
    assert two.texts(".endings tr")[1:] == [
        "A: buy(show_id=1) returns True returns False returns True",
        "B: buy(show_id=1) returns False returns True returns True",
        "demo_ticket id=2 no row no row show_id=1",
    ]
    assert two.texts(".endings .unusual") == ["show_id=1"]


def test_the_steps_of_one_table_can_be_shown_alone(folded: Browser) -> None:
    folded.run(CHOOSE, "demo_ticket")
    inserts = "return [...document.querySelectorAll('.rows > .step')].filter(row => row.offsetHeight).length"
    assert folded.run(inserts) == 2
    assert folded.texts(f"{FOLD} .action") == ["", ""]
    assert "INSERT" in folded.text(CURRENT)
    folded.press("j")
    assert "INSERT" in folded.text(CURRENT)
    folded.run(CHOOSE, "all tables")
    assert folded.run(SHOWN) == 15


def test_source_lines_open_the_editor(browser: Browser) -> None:
    browser.open("in an editor")
    opened = browser.run("return document.querySelector('.panel small a').getAttribute('href')")
    assert opened.startswith("vscode://file//")
    assert opened.endswith("tests/report/stories.py:1")


def test_the_page_has_landmarks_and_everything_that_scrolls_or_is_chosen_has_a_name(two: Browser) -> None:
    assert two.run("return document.querySelectorAll('main').length") == 1
    nameless = """
        const named = each => each.getAttribute('aria-label') || each.getAttribute('aria-labelledby')
            || each.labels?.length || each.textContent.trim();
        return [...document.querySelectorAll('button, select, [role=region], section, aside, summary')]
            .filter(each => !named(each)).map(each => each.outerHTML)"""
    assert two.run(nameless) == []
    levels = two.run("return [...document.querySelectorAll('h1, h2')].map(each => each.tagName)")
    assert levels.count("H1") == 1
    assert levels[0] == "H1"


def test_forced_colours_keep_lanes_and_the_current_row(two: Browser) -> None:
    two.emulate("screen", "dark", forced=True)
    style = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    assert two.run(style, CURRENT, "outlineStyle") == "solid"
    assert two.run(style, ".rail.open", "backgroundColor") not in ("rgba(0, 0, 0, 0)", "rgb(0, 0, 0)")
    assert two.run(style, ".rows .action", "color") == two.run(style, "body", "color")


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


TEXTS = (
    ".test", ".explanation", ".cycle", ".reason", ".hint b", ".verdict", ".number", ".place", ".action", ".result",
    ".result.waits", ".result.stale", ".marked .place", ".marked .result", ".marked .number", ".head .chip", ".filter",
    ".now", ".code i", ".endings .unusual", ".endings thead th", ".keys", ".scrolls th",
)  # fmt: skip


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_texts_can_be_read_in_light_and_dark(two: Browser, colours: str) -> None:
    two.emulate("screen", colours)
    assert {selector: ratio for selector in TEXTS if (ratio := two.run(CONTRAST, selector)) < 4.5} == {}


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
const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
const light = colour => {
  canvas.fillStyle = colour;  // of whatever space it is
  canvas.fillRect(0, 0, 1, 1);
  const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map(part => part / 255)
    .map(part => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b;
};
const element = document.querySelector(arguments[0]);
let ground = element;
while (/, 0\\)$|transparent/.test(getComputedStyle(ground).backgroundColor)) ground = ground.parentElement;
const both = [getComputedStyle(element).color, getComputedStyle(ground).backgroundColor].map(light);
return (Math.max(...both) + .05) / (Math.min(...both) + .05);
"""


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
    folded.press("k", Keys.HOME, "j", Keys.ENTER, "j")
    assert label(folded) == "Step 2 of 20"
    assert folded.run(SHOWN) == 20


def test_one_key_unfolds_all_and_folds_all_with_the_step_where_it_was(folded: Browser) -> None:
    folded.press("f")
    assert folded.run(SHOWN) == 25
    assert label(folded) == "Step 14 of 20"
    folded.press("j", Keys.HOME, "j", "j", "j")
    assert label(folded) == "Step 3 of 20"
    folded.press("f")
    assert folded.run(SHOWN) == 15
    assert label(folded) == "Steps 2 to 6 of 20"


def test_keys_step_over_what_is_folded(folded: Browser) -> None:
    folded.press("j", Keys.HOME, "j", "j")
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
