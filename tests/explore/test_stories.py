"""Common races are told truly: by their name, the rows and columns that matter, and a hint that mends them.

Each is explored where it happens; what must be said and what must not was written from
the programs.  The same program with the hint followed is explored, too: it is safe.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from aioconcurrent.sync import Exploration, explore, replay
from tests.explore.places import PLACES, Place, marks_of
from tests.project.office import tales as t

FREE = ("postgresql-RC", "mysql-RC", "file")  # where each statement is a transaction of its own
SERVERS = ("postgresql-RC", "mysql-RC")
LOCKING = (*SERVERS, "file-immediate")
TIMES = "20[0-9][0-9]-"

Call = tuple[Callable[..., Any], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Tale:
    """A race, and how it must and must not be told.

    Attributes:
        calls: Without `using`; those with a `fixed` are told it for the fixed twin.
        name: Of the anomaly.
        says: What the sentence has in it, as patterns.
        hints: What the hint has in it.
        never: What neither has.
        places: Where there is the race.
        mended: Where the fixed twin is safe.
    """

    calls: Sequence[Call]
    name: str
    says: Sequence[str]
    hints: Sequence[str]
    never: Sequence[str] = ()
    places: Sequence[str] = FREE
    mended: Sequence[str] = FREE

    def explore(self, place: Place, *, fixed: bool = False) -> Exploration:
        t.start(place.alias)
        return explore(*self.all_calls(place, fixed=fixed))

    def all_calls(self, place: Place, *, fixed: bool = False) -> list[Call]:
        def of(function: Callable[..., Any]) -> dict[str, Any]:
            return {"fixed": True} if fixed and "fixed" in (function.__kwdefaults__ or {}) else {}

        return [(function, {"using": place.alias, **given, **of(function)}) for function, given in self.calls]


def twice(function: Callable[..., Any], **given: Any) -> list[Call]:
    return [(function, given)] * 2


BOTH = "one after the other, exactly one returns True; here both do"
TALES = {
    "a counter beside a count of other rows": Tale(
        calls=twice(t.like),
        name="lost update",
        says=["A read likes=100 in office_post id=11 before B's update to 101 and wrote 101 over it"],
        hints=[r"update\(likes=F\('likes'\) \+ 1\)"],
        never=["count", "__gte"],
    ),
    "a guarded withdrawal": Tale(
        calls=twice(t.withdraw, amount=80),
        name="lost update",
        says=["A read balance=100 in shop_account id=11 before B's update to 20 and wrote 20 over it", BOTH],
        hints=[r"filter\(pk=\.\.\., balance__gte=80\)\.update\(balance=F\('balance'\) - 80\)", "number of rows"],
        never=[r"\+ 1", "owner"],
    ),
    "a check before an update": Tale(
        calls=twice(t.spend, amount=80),
        name="stale read",
        says=["read balance=100 in shop_account id=11 before", BOTH],
        hints=[r"filter\(pk=\.\.\., balance__gte=80\)\.update\(balance=F\('balance'\) - 80\)"],
        never=["write skew"],
    ),
    "a state that is left twice": Tale(
        calls=twice(t.leave_state, state="shipped"),
        name="stale read",
        says=["A read status='paid' in office_parcel id=11 before B's update to 'shipped'", BOTH],
        hints=[r"filter\(pk=\.\.\., status='paid'\)\.update\(status='shipped'\)", "number of rows"],
        never=[r"F\('", TIMES, "changed_at", "note"],
    ),
    "a state that is left in two ways": Tale(
        calls=[(t.leave_state, {"state": "shipped"}), (t.leave_state, {"state": "cancelled"})],
        name="lost update",
        says=[
            r"([AB]) read status='paid' in office_parcel id=11 before (?!\1)[AB]'s update to '\w+' and wrote",
            BOTH,
        ],
        hints=[r"filter\(pk=\.\.\., status='paid'\)\.update\(status='(shipped|cancelled)'\)"],
        never=[r"F\('", TIMES, "changed_at"],
    ),
    "two columns of whole rows": Tale(
        calls=[(t.set_status, {}), (t.set_note, {})],
        name="lost update",
        says=["A read note='old' in office_parcel id=11 before B's update to 'fragile' and wrote 'old' over it"],
        hints=[r'save\(update_fields=\["status"\]\)'],
        never=[r"F\('", TIMES, "changed_at", "total"],
    ),
    "a time that is set once": Tale(
        calls=twice(t.remind),
        name="stale read",
        says=["A read reminded_at=None in office_parcel id=11 before B set it, and then set it as well", BOTH],
        hints=[r"filter\(pk=\.\.\., reminded_at__isnull=True\)"],
        never=[r"F\('", TIMES],
    ),
    "a total beside its parts": Tale(
        calls=[(t.add_piece, {"price": 10}), (t.add_piece, {"price": 5})],
        name="lost update",
        says=["A read total='?0(.00)?'? in office_parcel id=11 before B's update to '?15(.00)?'? and wrote '?10"],
        hints=[r"update\(total=F\('total'\) \+ 10\)"],
        never=[TIMES, "REPEATABLE"],
    ),
    "a lock after the row was read": Tale(
        calls=twice(t.lock_too_late, amount=10),
        name="lost update",
        says=["A read balance=100 in shop_account id=11 before B's update to 90, locked the row only then", "wrote 90"],
        hints=["instance that the locking query returned", r"select_for_update\(\)"],
        never=["write skew", "SERIALIZABLE"],
        places=SERVERS,
        mended=SERVERS,
    ),
    "a row that was deleted and saved": Tale(
        calls=[(t.delete_paid, {}), (t.note_if_there, {})],
        name="resurrected row",
        says=["B read office_parcel id=11 before A deleted it, and its save\\(\\) made the row anew"],
        hints=[r'save\(update_fields=\["note"\]\)', r"force_update=True", r"filter\(pk=\.\.\.\)\.update"],
        never=[r"datetime\.datetime\(", TIMES, "changed_at"],
    ),
    "a report over two rows": Tale(
        calls=[(t.report, {}), (t.move, {"amount": 50})],
        name="read skew",
        says=[
            "A read balance=100 in shop_account id=11 before B's update to balance \\+ -50",
            "balance=50 after B's update of shop_account id=12",
            "returns 1[05]0",
        ],
        hints=[r"in one query, as filter\(pk__in=\[\.\.\.\]\) does"],
        never=["Read once"],
    ),
    "two doctors": Tale(
        calls=[(t.go_off_call, {"name": "ann"}), (t.go_off_call, {"name": "bob"})],
        name="write skew",
        says=["read count=2 before B's update of shop_doctor name='bob' to on_call=False", BOTH],
        hints=[r"list\(queryset\.select_for_update\(\)\)", "SERIALIZABLE"],
        never=["one more row"],
        places=SERVERS,
        mended=SERVERS,
    ),
    "a counter in a cache": Tale(
        calls=twice(t.count_visit),
        name="lost update",
        says=["visits=None from the cache before B set it to 1", "exactly one returns 1; here both do"],
        hints=[r"cache\.incr\(\)"],
        never=["on_commit"],
    ),
    "a cache that is filled": Tale(
        calls=[(t.cached_note, {}), (t.change_note, {})],
        name="stale cache",
        says=[
            "A read note='old' in office_parcel id=11 before B's update to 'new', and then put",
            "the cache has 'old'",
        ],
        hints=[r"inside atomic\(\) while the row is locked"],
        never=["incr"],
        mended=SERVERS,
    ),
    "a code that is redeemed once": Tale(
        calls=twice(t.redeem, code="SPRING"),
        name="double insert",
        says=["A found no shop_coupon with code='SPRING' before B inserted it, and inserted one as well", BOTH],
        hints=["UniqueConstraint on code and", r"get_or_create\(\)"],
        never=["SERIALIZABLE"],
    ),
    "as many as there are seats": Tale(
        calls=[(t.book, {"buyer": "ann"}), (t.book, {"buyer": "bob"})],
        name="phantom",
        says=["A read count=0 before B inserted a row of shop_ticket", BOTH],
        hints=[r"lock the row that they belong to \(show_id=11\)"],
        never=["UniqueConstraint"],
        mended=LOCKING,
    ),
    "one more than the highest number": Tale(
        calls=twice(t.take_number),
        name="double insert",
        says=[
            "A read last=7 from shop_counter before B inserted value=8, and inserted the same",
            "exactly one returns 8",
        ],
        hints=["UniqueConstraint on value and try again"],
        never=["get_or_create", "name"],
        mended=LOCKING,
    ),
    "a number that is read back": Tale(
        calls=twice(t.raise_counter),
        name="non-repeatable read",
        says=["A updated shop_counter id=11 to value \\+ 1, and B to value \\+ 1, before A read back value=9"],
        hints=[r"read back in one atomic\(\)"],
    ),
    "the end of a long text": Tale(
        calls=[(t.append, {"end": "one"}), (t.append, {"end": "two"})],
        name="lost update",
        says=[r"before B's update to \.\.\.[^']*two' and wrote \.\.\.[^']*one' over it"],
        hints=["Read the row with"],
        never=[r"F\('"],
        mended=LOCKING,
    ),
    "a card that is used up": Tale(
        calls=twice(t.use_up),
        name="stale read",
        says=["read a row of office_card with id=11 before [AB] deleted", "deleting it afterwards found no row", BOTH],
        hints=["Delete first"],
        never=["cannot be locked"],
    ),
    "a row that is made and counted in": Tale(
        calls=twice(t.use_handle),
        name="lost update",
        says=[r"A inserted uses=0 in office_handle id=\d+ before B's update to 1 and wrote 1 over it"],
        hints=[r"update\(uses=F\('uses'\) \+ 1\)"],
        never=["update_fields", "not changed itself"],
    ),
    "a row that is made by another meanwhile": Tale(
        calls=twice(t.use_handle_looked_up),
        name="lost update",
        says=["read no row of office_handle with name='x' before [AB] inserted", "and then wrote uses=1 over it"],
        hints=[r"Make the row first, with get_or_create\(\)", r"F\('uses'\) \+ "],
        never=["update_fields", "cannot be locked"],
        places=SERVERS,
    ),
    "an answer that comes later": Tale(
        calls=twice(t.answer_later),
        name="intermediate read",
        says=[r"B read uses=0 in office_handle id=\d+, as A had written it first, before A's update to 5"],
        hints=[r"both writes in one atomic\(\)"],
        mended=LOCKING,
    ),
    "one that is chosen of several": Tale(
        calls=[(t.choose, {"pk": 11}), (t.choose, {"pk": 12})],
        name="write cycle",
        says=["A's update of office_post to False came before B's of office_post id=12 to True, but B's"],
        hints=[r"in one atomic\(\)"],
        never=["stale", "active=False\\)"],
        mended=LOCKING,
    ),
    "a row in another table that says whether": Tale(
        calls=[(t.reply_while_active, {}), (t.close_replies, {})],
        name="stale read",
        says=[
            "A read active=(True|1) in office_post id=11 before B's update to False, and went on to insert",
            "here A returns True and B returns 0; one after the other, A returns True and B returns 1, or",
        ],
        hints=["Nothing that is written looks at the row again: read it with"],
        never=[r"update\(active"],
        mended=LOCKING,
    ),
    "a page and how many there are": Tale(
        calls=[(t.list_replies, {}), (t.reply, {})],
        name="phantom",
        says=["A read count=0 before B inserted a row of office_reply", "after it; A returns"],
        hints=["Read once and keep the result"],
    ),
    "a look at what is not committed yet": Tale(
        calls=[(t.book_and_look, {"buyer": "ann"}), (t.book_and_look, {"buyer": "bob"})],
        name="phantom",
        says=["insert of a row of shop_ticket .* was committed.*: neither saw what the other wrote", BOTH],
        hints=[r"lock the row that they belong to \(show_id=11\)"],
        places=SERVERS,
        mended=SERVERS,
    ),
    "rows that are locked and one that is added": Tale(
        calls=twice(t.spend_replies, amount=1),
        name="stale snapshot",
        says=["B chose the rows of office_reply that it locks and then waited; the row that A had written there", BOTH],
        hints=["lock first with"],
        places=("postgresql-RC",),
        mended=SERVERS,
    ),
}


def at_places(kind: str, shift: int) -> list[Any]:
    """Each tale where it happens or is mended: the places take turns, and the others run only thoroughly."""
    return [
        pytest.param(
            tale,
            PLACES[name],
            id=f"{told} at {name}",
            marks=[*marks_of(name), *([] if turn == (number + shift) % len(places) else [pytest.mark.thorough])],
        )
        for number, (told, tale) in enumerate(TALES.items())
        for places in [getattr(tale, kind)]
        for turn, name in enumerate(places)
    ]


@pytest.mark.parametrize(("tale", "place"), at_places("places", 0), indirect=["place"])
def test_a_race_is_told_truly_and_a_replay_tells_the_same(tale: Tale, place: Place, redis: str) -> None:
    found = tale.explore(place)
    assert found.counterexample, found
    told = found.counterexample.explanation
    hint = found.counterexample.hint
    assert found.counterexample.anomaly == tale.name, found
    assert [each for each in tale.says if not re.search(each, told)] == [], told
    assert [each for each in tale.hints if not re.search(each, hint)] == [], hint
    assert [each for each in tale.never if re.search(each, f"{told}\n{hint}")] == [], f"{told}\n{hint}"
    cycle, steps = found.counterexample.cycle, found.counterexample.steps
    directions = [(steps[each.before].call, steps[each.after].call) for each in cycle]
    assert directions in ([(0, 1), (1, 0)], [(1, 0), (0, 1)])
    assert {order for order, _ in found.counterexample.serial} <= {(0, 1), (1, 0)}
    if place.alias == "file":
        assert "isolation level" not in hint  # SQLite has one
    again = replay(found.counterexample.token, *tale.all_calls(place)).counterexample
    assert again
    assert (again.anomaly, again.explanation, again.hint) == (tale.name, told, hint)


@pytest.mark.parametrize(("tale", "place"), at_places("mended", 1), indirect=["place"])
def test_what_follows_the_hint_is_no_race(tale: Tale, place: Place, redis: str) -> None:
    found = tale.explore(place, fixed=True)
    assert (found.verdict, found.exhaustive) == ("no race", True), found
