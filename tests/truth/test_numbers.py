"""A number that follows a key is compared, though keys are not: two calls that hand out one number are a race."""

import pytest

from tests.explore.places import Place
from tests.project.office import numbers
from tests.truth.cases import RACE, SAFE, Case, at_places, same, twice

DOUBLED = {
    "one more than the last key": Case(same("bill_after_last"), RACE),
    "one more than the greatest key": Case(twice(numbers.after_maximum), RACE),
    "one more than the last key, in digits": Case(twice(numbers.padded), RACE),
    "one more than the last key, behind a year": Case(twice(numbers.dated), RACE),
    "one more than the last key, as hundreds": Case(twice(numbers.in_hundreds), RACE),
    "one more than the last key, only returned": Case(twice(numbers.returned_only), RACE),
    "the key of the row before, in a plain column": Case(same("bill_behind_last"), RACE),
    "one more than there are": Case(same("bill_by_count"), RACE),
    "one more than the greatest number": Case(same("bill_by_maximum"), RACE),
}
SINGLE = {
    "a key that is returned": Case(same("bill"), SAFE),
    "keys that are returned, of three": Case(same("bill", calls=3), SAFE),
    "a number of a row that counts": Case(twice(numbers.from_counter), SAFE),
    "a key that is written beside itself": Case(twice(numbers.own_key), SAFE),
    "keys of rows that refer to each other": Case(twice(numbers.reply_to_own), SAFE),
}


@pytest.mark.parametrize(("case", "place"), at_places(DOUBLED | SINGLE), indirect=["place"])
def test_a_number_is_handed_out_once(case: Case, place: Place) -> None:
    case.check(place)
