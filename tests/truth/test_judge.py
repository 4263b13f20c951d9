"""Endings are the same if nothing but luck tells them apart."""

from typing import Any

from tests.project.office.programs import Journal, Kind
from tests.truth.judge import Told, canonical


def told(*outcome: object, kinds: tuple[Kind, ...] = (), **drawn: str) -> Told:
    return Told(list(outcome), Journal({value: name for name, value in drawn.items()}, list(kinds)))


def bill(pk: int, **values: object) -> dict[str, Any]:
    return {"id": pk, "number": 0, "after": None, "before": None, "code": "", **values}


def post(**values: object) -> dict[str, Any]:
    usual = {"likes": 0, "note": "", "history": [], "token": None, "due": None, "active": True}
    return {"id": 1, **usual, **values}


def bills(*rows: dict[str, Any]) -> str:
    return canonical([], {"bill": list(rows)})


def test_the_numbers_of_new_keys_do_not_count() -> None:
    assert bills(bill(7, number=2), bill(8, number=3)) == bills(bill(12, number=3), bill(40, number=2))


def test_the_keys_that_were_there_do() -> None:
    assert bills(bill(1)) != bills(bill(7))


def test_what_new_rows_refer_to_counts() -> None:
    one, other = bill(7, number=2), bill(8, number=3)
    assert bills(one, other, bill(9, before=7)) != bills(one, other, bill(9, before=8))
    assert bills(one, other, bill(9, before=8)) == bills(bill(5, number=3), bill(3, number=2), bill(4, before=5))


def test_a_number_above_a_key_moves_with_the_key() -> None:
    in_turn = bills(bill(1), bill(7, after=2), bill(8, after=8))
    assert in_turn == bills(bill(1), bill(4, after=2), bill(9, after=5))
    assert in_turn != bills(bill(1), bill(7, after=2), bill(8, after=2))
    assert bills(bill(1), bill(7, code="2024/2")) != bills(bill(1), bill(7), bill(8, code="2024/8"))


def test_a_key_that_is_returned_counts_by_its_row() -> None:
    rows = {"bill": [bill(7, number=2), bill(8, number=3)]}
    first = canonical([told(7, kinds=("key",))], rows)
    assert first != canonical([told(8, kinds=("key",))], rows)
    assert first == canonical([told(9, kinds=("key",))], {"bill": [bill(8, number=3), bill(9, number=2)]})


def test_values_drawn_by_chance_count_by_who_drew_them() -> None:
    both = [told(token="f00"), told(token="ba5")]
    others = [told(token="cafe"), told(token="d0d0")]
    assert canonical(both, {"post": [post(token="f00")]}) == canonical(others, {"post": [post(token="cafe")]})
    assert canonical(both, {"post": [post(token="f00")]}) != canonical(both, {"post": [post(token="ba5")]})


def test_values_drawn_by_chance_are_found_inside_of_texts_and_json() -> None:
    both = [told(time="12:00:00"), told(time="12:00:01")]
    assert canonical(both, {"post": [post(note="12:00:00 a;12:00:01 b;")]}) == canonical(
        [told(time="18:00:00"), told(time="17:00:00")], {"post": [post(note="18:00:00 a;17:00:00 b;")]}
    )
    assert canonical(both, {"post": [post(history=[{"at": "12:00:00"}])]}) != canonical(
        both, {"post": [post(history=[{"at": "12:00:01"}])]}
    )
