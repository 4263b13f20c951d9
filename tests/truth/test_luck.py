"""What differs from run to run is no reason to leave out what stands beside it, nor a race by itself."""

import pytest

from tests.explore.places import Place
from tests.project.office import luck
from tests.truth.cases import NO_RACE, RACE, SAFE, Case, at_places, does, each, same, twice

LOST = {
    "a line with a time in a text": Case(does("note_time", "note_time"), RACE),
    "an equal line with a time": Case(same("note_time"), RACE),
    "an event with a time in JSON": Case(same("log"), RACE),
    "an event with an identifier in JSON": Case(each(luck.append_event, name=("a", "b")), RACE),
    "an equal event with an identifier": Case(twice(luck.append_event, name="a"), RACE),
    "an event in a text of JSON": Case(each(luck.append_event_as_text, name=("a", "b")), RACE),
    "a text beside a time of the database": Case(twice(luck.save_time_of_database), RACE),
    "a number beside a time": Case([(luck.like, {}), (luck.like_with_time, {})], RACE),
}
TWICE = {
    f"a token by {source}": Case(twice(luck.make_token, source=source), RACE if source == "uuid4" else {"file": RACE})
    for source in luck.SOURCES
    if source != "time_ns"
} | {
    "a number in a text with a time": Case(twice(luck.number_with_clock), RACE),
    "a number returned with a token": Case(twice(luck.number_with_token), RACE),
}
NULL = {
    "a time is gone that every order leaves": Case(does("touch", "rename"), RACE),
    "an alert is due no more, though all is up": Case([(luck.take_down, {}), (luck.ping, {})], RACE),
    "a time of the database is gone": Case(does("touch_by_database", "rename"), RACE),
}
NO_HARM = {
    "a time that both write": Case(same("touch"), SAFE),
    "a time and a number that both raise": Case(twice(luck.like_with_time), SAFE),
    "a time of the database": Case(twice(luck.like_with_time_of_database), NO_RACE),
    "a token that is written once": Case(twice(luck.make_token_once, source="uuid4"), SAFE),
    "a token of each": Case(twice(luck.bill_with_token), SAFE),
    "a token of each attempt": Case(twice(luck.register), {"postgresql-RC": NO_RACE, "mysql-RC": NO_RACE}),
    "a text beside which the other writes a time": Case(does("touch:1", "note_time:2"), SAFE),
}


@pytest.mark.parametrize(("case", "place"), at_places(LOST | TWICE | NULL | NO_HARM), indirect=["place"])
def test_values_by_chance_are_compared(case: Case, place: Place) -> None:
    case.check(place)
