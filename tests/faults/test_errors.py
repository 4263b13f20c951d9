"""Exceptions and results that are hard to bring home."""

import copyreg
import io
import pickle
import re
import traceback
from collections.abc import Callable

import pytest
from django.db import IntegrityError
from tblib import pickling_support

from aioconcurrent import (
    Outcomes,
    RemoteError,
    UnpicklableError,
    WrappedError,
    make_concurrent_calls,
    options,
    sync,
)
from aioconcurrent.base import (
    pickling,
)
from tests.faults import calls, raises
from tests.faults.conftest import WAYS
from tests.faults.races import leaving_nothing, run_race

FUNCTIONS = [
    raises.return_lock,
    raises.return_unreadable,
    raises.raise_two_parts,
    raises.raise_with_lock,
    raises.raise_local,
    raises.raise_unreadable,
    raises.interrupt,
    raises.interrupt_coroutine,
    raises.raise_group,
    raises.raise_group_with_interrupt,
    raises.raise_builtins,
    raises.raise_from_cause,
    raises.raise_in_context,
]
CALLS = [*((function, {}) for function in FUNCTIONS), (raises.exit_in_order, {"code": "bye"})]
NAMES = [function.__name__ for function, _ in CALLS]


@pytest.fixture(scope="module", params=WAYS, ids="-".join)
def race(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """One race of all these calls, and an innocent one."""
    start_method, backend = request.param
    with leaving_nothing(tmp_path_factory.mktemp("temporary")), options(start_method=start_method):
        return run_race(backend, *CALLS, (calls.answer, {}))


def of(race: Outcomes, name: str) -> WrappedError:
    outcome = race[NAMES.index(name)]
    assert isinstance(outcome, WrappedError)
    return outcome


def test_a_call_beside_failing_ones_keeps_its_value(race: Outcomes) -> None:
    assert race[-1] == 42


def test_every_error_names_its_call(race: Outcomes) -> None:
    for number, (name, wrapped) in enumerate(zip(NAMES, race, strict=False), 1):
        assert f"call {number} of {len(race)}, tests.faults.raises.{name}(" in str(wrapped)


def test_no_error_is_a_death(race: Outcomes) -> None:
    assert {report.exit_status for report in race.reports} == {0}


def test_a_result_that_cannot_be_pickled_is_an_error_that_names_the_fix(race: Outcomes) -> None:
    error = of(race, "return_lock").error
    assert isinstance(error, UnpicklableError)
    assert "raises.return_lock" in str(error)
    assert "cannot pickle '_thread.lock' object" in str(error)
    assert "plain data" in str(error)


def test_a_result_that_cannot_be_unpickled_is_an_error_that_names_the_fix(race: Outcomes) -> None:
    error = of(race, "return_unreadable").error
    assert isinstance(error, UnpicklableError)
    assert "raises.return_unreadable" in str(error)
    assert "not a number" in str(error)
    assert "plain data" in str(error)


def test_an_exception_keeps_what_its_constructor_would_not_take(race: Outcomes) -> None:
    error = of(race, "raise_two_parts").error
    assert isinstance(error, raises.TwoPartsError)
    assert (error.code, error.reason, str(error)) == (7, "sold out", "7: sold out")


def test_an_exception_keeps_its_frames(race: Outcomes) -> None:
    wrapped = of(race, "raise_two_parts")
    printed = io.StringIO()
    wrapped.print_tb(printed)
    assert 'raise TwoPartsError(7, reason="sold out")' in printed.getvalue()
    with pytest.raises(raises.TwoPartsError) as info:
        wrapped.reraise()
    assert info.traceback[-1].name == "raise_two_parts"


@pytest.mark.parametrize(
    ("name", "type_name", "message", "reason"),
    [
        ("raise_with_lock", "LockHoldingError", "held", "cannot pickle '_thread.lock' object"),
        ("raise_unreadable", "ValueError", "Unreadable object", "not a number"),
    ],
)
def test_an_exception_that_cannot_travel_is_told_whole(
    race: Outcomes, name: str, type_name: str, message: str, reason: str
) -> None:
    error = of(race, name).error
    assert isinstance(error, RemoteError)
    assert error.type_name == type_name
    for part in (f"{type_name}: ", message, reason, "make it picklable", f"in {name}", "raises.py"):
        assert part in str(error)
    assert traceback.extract_tb(of(race, name).traceback)[-1].name == name


def test_an_exception_of_a_local_class_keeps_its_name(race: Outcomes) -> None:
    error = of(race, "raise_local").error
    assert type(error).__name__ == "LocalError"
    assert error.args == ("from here",)


def test_system_exit_is_data(race: Outcomes) -> None:
    error = of(race, "exit_in_order").error
    assert isinstance(error, SystemExit)
    assert error.code == "bye"


@pytest.mark.parametrize("name", ["interrupt", "interrupt_coroutine"])
def test_keyboard_interrupt_is_data(race: Outcomes, name: str) -> None:
    assert type(of(race, name).error) is KeyboardInterrupt


def test_a_group_keeps_its_nested_exceptions(race: Outcomes) -> None:
    error = of(race, "raise_group").error
    assert isinstance(error, ExceptionGroup)
    key_error, nested = error.exceptions
    assert repr(key_error) == "KeyError('one')"
    assert isinstance(nested, ExceptionGroup)
    [inner] = nested.exceptions
    assert isinstance(inner, raises.TwoPartsError)
    assert inner.code == 7


def test_a_group_that_is_no_exception_keeps_its_type(race: Outcomes) -> None:
    error = of(race, "raise_group_with_interrupt").error
    assert type(error) is BaseExceptionGroup
    assert [type(inner) for inner in error.exceptions] == [KeyboardInterrupt, ValueError]


def test_an_exception_of_the_interpreter_keeps_all_of_its_attributes(race: Outcomes) -> None:
    error = of(race, "raise_builtins").error
    assert isinstance(error, ExceptionGroup)
    decoding, syntax, stop, importing, missing = error.exceptions
    assert str(decoding) == "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"
    assert str(syntax) == "invalid syntax (shop.py, line 3)"
    assert isinstance(stop, StopIteration)
    assert stop.value == 7
    assert isinstance(importing, ImportError)
    assert (importing.name, importing.path) == ("till", "till.py")
    assert isinstance(missing, FileNotFoundError)
    assert (missing.errno, missing.filename) == (2, "receipt")


def test_an_exception_keeps_its_cause_and_notes(race: Outcomes) -> None:
    error = of(race, "raise_from_cause").error
    assert error.__notes__ == ["seen on a Tuesday"]
    assert isinstance(error.__cause__, raises.TwoPartsError)
    assert error.__cause__.code == 7
    assert error.__suppress_context__
    assert "raise_two_parts" in [frame.name for frame in traceback.extract_tb(error.__cause__.__traceback__)]


def test_an_exception_keeps_its_context(race: Outcomes) -> None:
    error = of(race, "raise_in_context").error
    assert isinstance(error.__context__, raises.TwoPartsError)
    assert error.__cause__ is None
    assert not error.__suppress_context__


def test_all_errors_can_be_raised_at_once(race: Outcomes) -> None:
    with pytest.raises(BaseExceptionGroup, match=f"{len(CALLS)} of {len(race)} concurrent calls failed") as info:
        race.raise_errors()
    assert info.value.subgroup(KeyboardInterrupt) is not None


@pytest.mark.parametrize("has_tblib", [False, True], ids=["alone", "beside tblib's install()"])
def test_every_error_survives_pickling_inside_its_wrapping(
    race: Outcomes, monkeypatch: pytest.MonkeyPatch, has_tblib: bool
) -> None:
    if has_tblib:  # as after an import of dask, for one
        monkeypatch.setitem(copyreg.dispatch_table, WrappedError, pickling_support.pickle_exception)
    else:
        monkeypatch.delitem(copyreg.dispatch_table, WrappedError, raising=False)
    for wrapped in race.errors:
        again = pickle.loads(pickle.dumps(wrapped))
        assert (str(again), type(again.error).__name__) == (str(wrapped), type(wrapped.error).__name__)


@pytest.mark.parametrize("code", [0, None, 3])
def test_an_exit_in_order_is_never_a_value(code: int | None) -> None:
    [outcome] = sync.call_concurrently(1, raises.exit_in_order, code)
    assert isinstance(outcome, WrappedError)
    assert isinstance(outcome.error, SystemExit)
    assert outcome.error.code == code


async def test_an_exit_inside_a_coroutine_is_data() -> None:
    [outcome] = await make_concurrent_calls((raises.exit_in_coroutine, {"code": 3}))
    assert isinstance(outcome.error, SystemExit)
    assert outcome.error.code == 3


@pytest.mark.parametrize("depth", [10, 360, 900])
def test_an_exception_from_the_depths_is_told_as_itself(start_method: str, depth: int) -> None:
    outcome, value = sync.make_concurrent_calls((raises.raise_below, {"depth": depth}), (calls.answer, {}))
    assert (type(outcome.error), str(outcome.error)) == (ValueError, "at the bottom")
    assert len(traceback.extract_tb(outcome.traceback)) == depth + 1
    assert value == 42


def test_of_an_exception_from_the_deepest_depths_a_note_says_how_many_frames_are_left_out() -> None:
    [outcome] = sync.call_concurrently(1, raises.raise_below, 20_000).errors
    assert (type(outcome.error), str(outcome.error)) == (ValueError, "at the bottom")
    assert outcome.error.__notes__ == ["19,001 of its 20,001 frames, in the middle, are left out."]
    frames = traceback.extract_tb(outcome.traceback)
    assert [frames[0].name, frames[-1].line] == ["raise_below", 'raise ValueError("at the bottom")']


def test_an_endless_recursion_is_told_as_itself(start_method: str) -> None:
    [outcome] = sync.call_concurrently(1, raises.recurse).errors
    assert isinstance(outcome.error, RecursionError)
    assert {frame.name for frame in traceback.extract_tb(outcome.traceback)} == {"recurse"}


def test_an_exception_that_leaves_little_room_to_recurse_is_told_as_itself() -> None:
    [outcome] = sync.call_concurrently(1, raises.raise_with_little_room).errors
    assert (type(outcome.error), str(outcome.error)) == (ValueError, "at the bottom")


def test_an_exception_with_odd_notes_is_told_as_itself() -> None:
    [outcome] = sync.call_concurrently(1, raises.raise_with_odd_notes).errors
    assert (type(outcome.error), str(outcome.error)) == (ValueError, "seven")


def test_an_exception_with_a_long_chain_of_causes_is_told_at_least() -> None:
    [outcome] = sync.call_concurrently(1, raises.raise_long_chain).errors
    assert "ValueError: 2999" in str(outcome)
    assert len(str(outcome)) < 200_000


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt("now"), GeneratorExit("no more"), ValueError("x")])
def test_a_result_that_raises_anything_where_it_is_unpickled_takes_nothing_along(
    start_method: str, error: BaseException
) -> None:
    outcome, value = sync.make_concurrent_calls((raises.return_raising, {"error": error}), (calls.answer, {}))
    assert isinstance(outcome.error, UnpicklableError)
    assert f"{type(error).__name__}: {error}" in str(outcome)
    assert value == 42


def test_a_ctrl_c_while_a_result_is_unpickled_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    interruptions = iter([KeyboardInterrupt("from the keyboard")])

    def be_interrupted_once() -> int:
        for interruption in interruptions:
            raise interruption
        return 42

    monkeypatch.setattr(calls, "answer", be_interrupted_once)
    with pytest.raises(KeyboardInterrupt, match="from the keyboard"):
        pickling.load_from_call(b"ctests.faults.calls\nanswer\n(tR.")


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (raises.raise_forever_interrupted, "KeyboardInterrupt: not now"),
        (raises.raise_exiting_on_the_way, "SystemExit: not me"),
    ],
)
def test_an_exception_that_raises_anything_on_its_way_takes_nothing_along(
    start_method: str, function: Callable[[], object], reason: str
) -> None:
    outcome, value = sync.make_concurrent_calls((function, {}), (calls.answer, {}))
    assert isinstance(outcome.error, RemoteError)
    assert outcome.error.message == "mine"
    assert outcome.error.reason == reason
    assert value == 42


def test_an_exception_that_exits_when_it_is_asked_for_its_text_is_told_by_its_name() -> None:
    outcomes: Outcomes = sync.call_concurrently(1, raises.raise_silently_exiting)
    for text in (str(outcomes[0]), str(outcomes)):
        assert "SilentlyExitingError: <no text: its __str__ raised SystemExit>" in text


def test_what_would_steer_a_terminal_is_shown_and_kept() -> None:
    outcomes: Outcomes = sync.make_concurrent_calls((raises.raise_controls, {}), (raises.print_controls_and_die, {}))
    raised, died = outcomes.errors
    assert str(raised.error) == raises.CONTROLS
    for text in (str(raised), repr(raised), str(died), str(died.error), str(outcomes)):
        assert raises.SHOWN.replace("half \\udcff", "half ") in text
        assert not re.search("[\x00\x1b\u202e\u2028\udcff]", text)


def test_what_would_steer_a_terminal_is_shown_where_an_exception_cannot_be_rebuilt() -> None:
    text = str(RemoteError("ValueError", raises.CONTROLS, raises.CONTROLS, raises.CONTROLS))
    assert text.count(raises.SHOWN) == 3


def test_an_exception_without_a_text_is_told_by_its_name() -> None:
    outcomes = sync.make_concurrent_calls((raises.raise_mute, {}))
    assert isinstance(outcomes[0].error, raises.MuteError)
    for text in (str(outcomes[0]), str(outcomes)):
        assert "raises.raise_mute()" in text
        assert "MuteError" in text


def test_a_value_is_never_printed_by_the_library(start_method: str) -> None:
    [value] = sync.call_concurrently(1, raises.return_unprintable)
    assert type(value) is raises.Unprintable


def test_an_error_of_a_database_keeps_its_cause(database: str) -> None:
    outcomes = sync.call_concurrently(1, raises.create_twice, database)
    error = outcomes.errors[0].error
    assert isinstance(error, IntegrityError)
    assert error.__cause__ is not None
    assert type(error.__cause__).__name__ in ("IntegrityError", "UniqueViolation")
    assert str(error) == str(error.__cause__)


def test_inline_calls_fail_in_the_same_way() -> None:
    with options(start_method="inline"):
        outcomes = sync.make_concurrent_calls(
            (raises.exit_in_order, {"code": 3}), (raises.raise_group, {}), (calls.answer, {})
        )
    assert [type(wrapped.error) for wrapped in outcomes.errors] == [SystemExit, ExceptionGroup]
    assert outcomes[2] == 42
