"""That what happened is wrong: how the calls end one after another, and how they ended here."""

import re
from collections import Counter
from collections.abc import Collection, Sequence

from .._trace import ENDLESS, call_name
from .accesses import Access
from .answers import answer
from .differences import ABSENT, Difference, contrasted, show, shown_row
from .facts import Ref, Some
from .oracle import Violation
from .parts import Size

_LOGS = re.compile(r"(?:^|_)(?:log|history|historical|audit|event|analytic|session|visit|activity)", re.IGNORECASE)
_NOTHING = "returns None"
_NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four"}


def result(violation: Violation, accesses: Sequence[Access] = (), place: str = "") -> str:
    """Tell it in a sentence without a full stop.

    Args:
        accesses: Of the run: tables that the calls have read tell more than others.
        place: The row that was told of before.
    """
    if violation.kind == "broken rule":
        return violation.detail
    if not violation.differences:
        return "new rows refer to other rows than after any serial order"
    answered = _answered(violation)
    if answered:
        return answered
    read = {access.table for access in accesses if access.verb == "select"}
    ranked = sorted(violation.differences, key=lambda each: (_rank(each, read), not each.unique))
    chosen = ranked[0]
    if chosen.unique:
        return f"no serial order {_ends(chosen, place)}"
    same = [each for each in ranked if _rank(each, read) == _rank(chosen, read)]
    return f"no serial order ends like this: {'; '.join(str(each) for each in same[:2])}"


def _rank(difference: Difference, read: Collection[str]) -> int:
    """How little it tells."""
    if _LOGS.search(difference.table) or isinstance(difference.found, Size):
        return 3
    if difference.place == "outcome":
        return 2  # of those of which nothing better can be said
    return 0 if difference.table.lower() in read else 1


def _answered(violation: Violation) -> str:
    """What the calls returned or raised, if that tells it."""
    calls = {each.call for each in violation.differences if each.place == "outcome" and not _is_by_chance(each)}
    if not calls or not violation.serial or ENDLESS in violation.outcomes:
        return ""
    here = [answer(outcome) for outcome in violation.outcomes]
    serial = [[answer(outcome) for outcome in outcomes] for outcomes in violation.serial]
    counted = _counted(here, serial, calls)
    if counted:
        return counted
    return "; ".join(_beside(call, here[call], serial) for call in sorted(calls)[:2])


def _is_by_chance(difference: Difference) -> bool:
    return any(isinstance(value, Ref | Some) for value in (difference.found, difference.expected))


def _counted(here: Sequence[str], serial: Sequence[Sequence[str]], calls: Collection[int]) -> str:
    """That more calls come to the same than may, or, of what says nothing, fewer to something else."""
    usual = {told: {Counter(outcomes)[told] for outcomes in serial} for told in (*here, *serial[0])}
    steady = {told: next(iter(times)) for told, times in usual.items() if len(times) == 1 and 0 not in times}
    for told in dict.fromkeys(here[call] for call in sorted(calls)):
        times, now = steady.get(told, 0), Counter(here)[told]
        if told != _NOTHING and 0 < times < now:
            who = "both do" if now == len(here) == 2 else "all do" if now == len(here) else f"{_number(now)} do"
            return f"one after the other, exactly {_number(times)} {_plural(told, times)}; here {who}"
    for told, times in steady.items():
        if told not in here and told != _NOTHING:
            return f"one after the other, exactly {_number(times)} {_plural(told, times)}; here none does"
    return ""


def _plural(told: str, times: int) -> str:
    verb, space, rest = told.partition(" ")
    return told if times == 1 else f"{verb.removesuffix('s')}{space}{rest}"


def _number(count: int) -> str:
    return _NUMBERS.get(count, str(count))


def _beside(call: int, here: str, serial: Sequence[Sequence[str]]) -> str:
    usual = list(dict.fromkeys(outcomes[call] for outcomes in serial))
    verb = usual[0].partition(" ")[0]
    told = " or ".join([usual[0], *(each.removeprefix(f"{verb} ") for each in usual[1:3])])
    return f"{call_name(call)} {here}; one after the other, it {told}"


def _ends(difference: Difference, place: str) -> str:
    if difference.place == "outcome":
        return f"makes {difference.where} {show(difference.found)}"
    if difference.found is ABSENT:
        return f"ends without {difference.where} ({shown_row(difference.expected)})"
    if difference.expected is ABSENT:
        return f"ends with the row {difference.table} ({shown_row(difference.found)})"
    where = "" if difference.where == place else f" in {difference.where}"
    return f"ends at {difference.name}={contrasted(difference.found, difference.expected)}{where}"
