"""Stories written down by hand, for the tests of what shows them."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from aioconcurrent.base.trace import Precedence, Run, Step, interleaved
from aioconcurrent.report.page import Story
from tests.explore.traces import Tracer, timed, waited

GET = (
    'SELECT "demo_show"."id", "demo_show"."title", "demo_show"."seats_left" '
    'FROM "demo_show" WHERE "demo_show"."id" = %s LIMIT 21'
)
ADD = 'INSERT INTO "demo_ticket" ("show_id") VALUES (%s) RETURNING "demo_ticket"."id"'
SAVE = 'UPDATE "demo_show" SET "title" = %s, "seats_left" = %s WHERE "demo_show"."id" = %s'
TITLE = "The Mousetrap"
HOSTILE = (
    "</script></style><script>document.title='owned'</script>"
    "<img src=x onerror=\"document.title='owned'\">'{{ 7|add:7 }}"
)

T = Tracer(atomic=True)


def get(call: int, **seen: Any) -> Step:
    row = {"id": 1, "title": TITLE, "seats_left": 1}
    return T.sql(
        call, GET, (1,), rows=[row], source="demo/shop.py:10 in buy: show = Show.objects.get(pk=show_id)", **seen
    )


def add(call: int, key: int, **seen: Any) -> Step:
    source = "demo/shop.py:13 in buy: Ticket.objects.create(show=show)"
    return T.sql(call, ADD, (1,), rows=[{"id": key}], source=source, **seen)


def save(call: int, **seen: Any) -> Step:
    return T.sql(call, SAVE, (TITLE, 0, 1), rowcount=1, source="demo/shop.py:15 in buy: show.save()", **seen)


BOUGHT_TWICE = (
    get(0), get(1), add(0, 1), save(0), add(1, 2), save(1, **waited(0, until=6)), T.end(0), T.end(1)
)  # fmt: skip


def sold_once(*returned: bool) -> Run:
    show = {"id": 1, "title": TITLE, "seats_left": 0}
    return Run(returned, {"demo_show": [show], "demo_ticket": [{"id": 3, "show_id": 1}]})


def bought_twice(**changes: Any) -> Story:
    """Two buyers of the last ticket, as exploring tells of them."""
    tables: dict[str, list[dict[str, Any]]] = {
        "demo_show": [{"id": 1, "title": TITLE, "seats_left": 0}],
        "demo_ticket": [{"id": 1, "show_id": 1}, {"id": 2, "show_id": 1}],
    }
    story = Story(
        title="test_the_last_ticket_is_sold_once",
        test_id="tests/test_shop.py::test_the_last_ticket_is_sold_once",
        calls=("buy(show_id=1)", "buy(show_id=1)"),
        run=Run((True, True), tables, BOUGHT_TWICE),
        verdict="race",
        marked={1, 3, 5},
        anomaly="lost update",
        explanation="B read seats_left=1 before A's update to 0 and wrote 0 over it; no serial order makes both calls "
        "return True.",
        hint="Let the database compute the value, as in update(seats_left=F('seats_left') - 1), or read the row with "
        "select_for_update() inside atomic().",
        reason="8 of 70 schedules were run.",
        token="aioc1:0.1.0*2.1*2.0.1:kT3wPq_a",
        outputs=("looking for a seat\n\x1b[32msold\x1b[0m\n", ""),
        cycle=(Precedence(1, 3, "read"), Precedence(3, 5, "write")),
        serial=[((0, 1), sold_once(True, False)), ((1, 0), sold_once(False, True))],
        editor="vscode://file/{file}:{line}",
        test="def test_lost_update():\n    pass\n",
    )
    return replace(story, **changes)


def hostile() -> Story:
    """A story in which every text is an attempt to break out of the page."""
    step = T.sql(
        0, f"SELECT '{HOSTILE}' FROM \"t\" WHERE \"x\" = %s", (HOSTILE,), rows=[{HOSTILE: HOSTILE}],
        source=f"a/b.py:1 in {HOSTILE.replace(':', '')}: {HOSTILE}", error=HOSTILE, ended=1.0,
    )  # fmt: skip
    run = Run((ValueError(HOSTILE),), {HOSTILE: [{HOSTILE: HOSTILE}]}, (step,))
    texts: dict[str, Any] = dict.fromkeys(
        ("verdict", "reason", "anomaly", "explanation", "hint", "token", "test_id"), HOSTILE
    )
    return Story(title=HOSTILE, calls=(HOSTILE,), run=run, outputs=(HOSTILE,), **texts)


def crowd(calls: int = 20, steps: int = 500, *, loops: bool = False) -> Story:
    """Many calls that take turns; in every tenth turn one waits for another."""
    chance = random.Random(0)
    made: list[Step] = []
    busy: set[int] = set()
    while len(made) < steps:
        call = chance.choice([each for each in range(calls) if each not in busy])
        number = len(made)
        if number % 10 == 5 and number + 4 < steps:
            other = next(each for each in range(calls) if each not in busy and each != call)
            made += [save(call, **waited(other, until=number + 3)), *(get(other) for _ in range(2)), T.end(other)]
        else:
            made += [get(call)] * (12 if loops and number % 40 == 0 else 1)
    run = Run((True,) * calls, {}, tuple(made[:steps]))
    return Story(title="test_many", calls=("buy(show_id=1)",) * calls, run=run, verdict="race", marked={35, 36, 40})


def recorded() -> Story:
    """A plain race of four buyers, with times; the third and the fourth wait for the row."""
    t = 0.001
    steps: list[tuple[Step, float, float]] = [
        (get(0), 0.0, 0.6 * t), (get(1), 0.2 * t, 0.9 * t), (get(2), 0.3 * t, 1.1 * t), (get(3), 2.1 * t, 2.6 * t),
        (add(0, 1), 0.9 * t, 1.6 * t), (add(1, 2), 1.2 * t, 1.9 * t), (add(2, 3), 1.5 * t, 2.2 * t),
        (save(0), 1.9 * t, 2.5 * t),
        (save(1, waited_for=frozenset({0})), 2.2 * t, 6.4 * t),
        (save(2, waited_for=frozenset({0, 1})), 2.7 * t, 8.1 * t),
        (T.end(0), 5.6 * t, 6.3 * t), (T.end(1), 7.3 * t, 8.0 * t), (T.end(2), 8.6 * t, 9.2 * t),
        (T.end(3), 3.0 * t, 3.3 * t),
    ]  # fmt: skip
    made = interleaved([[timed(step, 5000 + started, 5000 + ended) for step, started, ended in steps]])
    return Story(title="test_buy", calls=["buy(show_id=1)"] * 4, run=Run((True, True, True, False), {}, made))


def request() -> Story:
    """Two buyers again, who first look up much that is theirs alone."""
    looked_up = [
        T.sql(call, f'SELECT "role" FROM "user_{number}"', (), source=f"demo/access.py:{number} in allow: role()")
        for call in (0, 1)
        for number in range(1, 7)
    ]
    steps = *looked_up, *(replace(step, resumed_after=18) if step.waited_for else step for step in BOUGHT_TWICE)
    run = Run((True, True), {}, steps, frozenset(range(len(looked_up))))
    cycle = (Precedence(13, 15, "read"), Precedence(15, 17, "write"))
    return bought_twice(run=run, marked={13, 15, 17}, cycle=cycle)


def edited() -> Story:
    """A story of a line that is there."""
    line = Path(__file__).read_text(encoding="utf-8").splitlines()[0]
    step = replace(get(0), source=f"report/stories.py:1 in <module>: {line}")
    return bought_twice(run=Run((True, True), {}, (step, get(1))), marked={0}, cycle=(), serial=())


STORIES = {
    "two calls": bought_twice(),
    "twenty calls": crowd(),
    "loops": crowd(3, 120, loops=True),
    "on one clock": recorded(),
    "a request": request(),
    "in an editor": edited(),
    "hostile": hostile(),
}
