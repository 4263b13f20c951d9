"""What a test has patched is patched in its calls, and what they did to it is known to the test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

import aioconcurrent
from aioconcurrent import PatchError, UnpicklableError
from aioconcurrent.sync import call_concurrently, explore, make_concurrent_calls, options
from tests.project import gateway

pytest_plugins = ["tests.project.start_methods"]
both_start_methods = pytest.mark.usefixtures("start_method")
CHARGE = "tests.project.gateway.charge"


@both_start_methods
def test_what_is_patched_by_name_is_patched_in_the_calls_and_knows_of_them() -> None:
    with mock.patch(CHARGE, return_value="paid") as charge:
        assert list(call_concurrently(2, gateway.pay)) == ["paid", "paid"]
    assert charge.call_args_list == [mock.call(10, card="4242")] * 2
    assert call_concurrently(1, gateway.pay).errors[0].error.__class__ is gateway.RealThingError


@mock.patch(CHARGE, return_value="paid")
def test_a_decorator_patches_the_calls_too(charge: mock.Mock) -> None:
    assert list(call_concurrently(1, gateway.pay)) == ["paid"]
    charge.assert_called_once_with(10, card="4242")


def test_a_patcher_that_was_started_patches_the_calls_too() -> None:
    patcher = mock.patch(CHARGE)
    patcher.start().return_value = "paid"
    try:
        assert list(call_concurrently(1, gateway.pay)) == ["paid"]
    finally:
        patcher.stop()


def test_mocker_patches_the_calls_too(mocker: Any) -> None:
    charge = mocker.patch(CHARGE, return_value="paid")
    assert list(call_concurrently(1, gateway.pay)) == ["paid"]
    charge.assert_called_once()


class TestPatchedClass:
    @pytest.fixture(autouse=True)
    def _patched(self) -> Iterator[None]:
        with mock.patch.object(gateway.Client, "send", return_value="sent"):
            yield

    @both_start_methods
    def test_methods_of_a_class_are_patched_in_the_calls(self) -> None:
        assert list(call_concurrently(1, gateway.send)) == ["sent"]


def test_an_object_of_a_module_is_patched_in_the_calls() -> None:
    with mock.patch.object(gateway.client, "send", return_value="sent") as send:
        assert list(call_concurrently(1, gateway.send_by_singleton, "hi")) == ["sent"]
    send.assert_called_once_with("hi")


@both_start_methods
def test_autospec_holds_in_the_calls() -> None:
    with mock.patch(CHARGE, autospec=True, return_value="paid") as charge:
        assert list(call_concurrently(1, gateway.pay)) == ["paid"]
        [wrapped] = call_concurrently(1, "tests.project.gateway:charge").errors
        assert isinstance(wrapped.error, TypeError)  # it takes an argument
    charge.assert_called_once_with(10, card="4242")


def test_a_class_with_autospec_gives_its_mocked_instances_in_the_calls() -> None:
    with mock.patch("tests.project.gateway.Client", autospec=True) as client:
        client.return_value.send.return_value = "sent"
        assert list(call_concurrently(1, gateway.send)) == ["sent"]
    client.assert_called_once_with("test")
    client.return_value.send.assert_called_once_with("hello")


def test_magic_methods_that_were_set_are_set_in_the_calls() -> None:
    with mock.patch.object(gateway, "client") as client:
        client.__enter__.return_value.send.return_value = "sent"
        client.__len__.return_value = 3
        client.__getitem__ = lambda _, key: key * 2
        assert list(call_concurrently(1, gateway.context)) == [("sent", 3, "aa")]
    client.__enter__.return_value.send.assert_called_once_with("in a block")


def test_side_effects_take_place_in_each_call_as_from_here_on() -> None:
    with mock.patch(CHARGE, side_effect=["first", "second", "third", "fourth"]):
        assert gateway.pay() == "first"
        assert list(call_concurrently(2, gateway.pay_twice)) == [["second", "third"]] * 2
    with mock.patch(CHARGE, side_effect=lambda amount, **_: amount + 1):
        assert list(call_concurrently(1, gateway.pay, 4)) == [5]
    with mock.patch(CHARGE, side_effect=ValueError("declined")):
        [wrapped] = call_concurrently(1, gateway.pay).errors
        assert repr(wrapped.error) == "ValueError('declined')"


def test_coroutine_functions_are_patched_in_the_calls() -> None:
    with mock.patch("tests.project.gateway.acharge", return_value="paid") as charge:
        assert list(call_concurrently(2, gateway.apay, 5)) == ["paid", "paid"]
    assert charge.await_args_list == [mock.call(5), mock.call(5)]


def test_a_mock_of_a_class_of_the_projects_own_travels() -> None:
    with mock.patch(CHARGE, new=Till("cash")) as charge:
        charge.return_value = "paid"
        assert list(call_concurrently(1, gateway.pay)) == ["paid"]
    assert charge.call_count == 1


class Till(mock.MagicMock):
    """A mock whose constructor wants something."""

    def __init__(self, kind: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)


def test_a_spy_calls_the_original_in_the_calls_and_knows_of_it(mocker: Any) -> None:
    spy = mocker.spy(gateway.Client, "version")
    assert list(call_concurrently(1, gateway.version)) == ["real"]
    assert spy.call_count == 1


def test_the_calls_of_a_mock_come_in_the_order_of_the_calls_of_the_race() -> None:
    with mock.patch(CHARGE) as charge:
        charge.return_value = None
        make_concurrent_calls((gateway.pay, {"amount": 1}), (gateway.pay, {"amount": 2}), (gateway.pay, {"amount": 3}))
    assert [call.args for call in charge.call_args_list] == [(1,), (2,), (3,)]


def test_what_was_recorded_before_is_not_known_in_the_calls_and_kept_here() -> None:
    with mock.patch(CHARGE, return_value=None) as charge:
        gateway.pay(1)
        call_concurrently(1, gateway.pay, 2)
    assert [call.args for call in charge.call_args_list] == [(1,), (2,)]


def test_an_argument_that_cannot_come_back_is_told_by_its_repr() -> None:
    with mock.patch(CHARGE, return_value=None) as charge:
        call_concurrently(1, gateway.pay_and_lock)
    assert "lock" in charge.call_args.args[0]


@both_start_methods
def test_monkeypatch_patches_the_calls_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "charge", lambda amount, **_: f"paid {amount}")
    monkeypatch.setattr("tests.project.gateway.CURRENCY", "USD")
    monkeypatch.setattr(gateway.Client, "version", staticmethod(lambda: "fake"))
    assert list(call_concurrently(1, gateway.pay)) == ["paid 10"]
    assert list(call_concurrently(1, gateway.currency)) == ["USD"]
    assert list(call_concurrently(1, gateway.version)) == ["fake"]
    monkeypatch.undo()
    assert list(call_concurrently(1, gateway.currency)) == ["EUR"]


def test_an_attribute_that_monkeypatch_deletes_is_missing_in_the_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(gateway, "CURRENCY")
    assert list(call_concurrently(1, gateway.currency)) == ["deleted"]


def test_items_of_a_dict_of_a_module_are_patched_in_the_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    with mock.patch.dict(gateway.LIMITS, {"USD": 5}, clear=True), mock.patch.dict("os.environ", {"SHOP": "open"}):
        assert list(call_concurrently(1, gateway.limits)) == [{"USD": 5}]
    monkeypatch.setitem(gateway.LIMITS, "GBP", 7)
    monkeypatch.delitem(gateway.LIMITS, "EUR")
    assert list(call_concurrently(1, gateway.limits)) == [{"GBP": 7}]
    monkeypatch.undo()
    assert list(call_concurrently(1, gateway.limits)) == [{"EUR": 100}]


def test_a_replacement_that_wraps_the_original_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "charge", gateway.counted(gateway.charge))
    assert list(call_concurrently(1, gateway.pay)) == [("counted", (10,))]


def test_a_replacement_may_call_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    original = gateway.version
    monkeypatch.setattr(gateway, "version", lambda: f"not {original()}")
    assert list(call_concurrently(1, "tests.project.gateway:version")) == ["not real"]


@pytest.mark.django_db(transaction=True)
def test_an_exploration_has_the_mocks_and_tells_of_the_calls_of_one_run() -> None:
    with mock.patch(CHARGE, side_effect=["paid", "paid twice"]) as charge:
        found = explore(
            (gateway.pay, {"amount": 1}), (gateway.pay, {"amount": 2}), check=lambda outcomes: outcomes == ["paid"] * 2
        )
    assert found.verdict != "race"
    assert [call.args for call in charge.call_args_list] == [(1,), (2,)]


@pytest.mark.django_db(transaction=True)
def test_a_rule_can_ask_a_mock_about_each_run() -> None:
    seen: list[tuple[int, int]] = []

    def paid_once(outcomes: Any) -> bool:
        seen.append((charge.call_count, charge.return_value.confirm.call_count))
        return bool(charge.call_count == 1)

    with mock.patch(CHARGE) as charge:
        calls = (gateway.pay_and_confirm, {"amount": 1}), (gateway.pay_and_confirm, {"amount": 2})
        found = explore(*calls, check=paid_once)
    assert found.verdict == "race"
    assert set(seen) == {(2, 2)}
    assert charge.call_count == charge.return_value.confirm.call_count == 2


async def test_the_async_face_takes_mocks_along_too() -> None:
    with mock.patch(CHARGE, return_value="paid") as charge:
        assert list(await aioconcurrent.call_concurrently(1, gateway.pay)) == ["paid"]
    charge.assert_called_once()


def test_a_mock_that_cannot_travel_is_named_before_any_call_begins() -> None:
    with mock.patch(CHARGE, return_value=threading.Lock()), pytest.raises(PatchError) as caught:
        call_concurrently(1, gateway.pay)
    assert "tests.project.gateway.charge" in str(caught.value)
    assert "prepare" in str(caught.value)


def test_an_object_that_no_other_process_finds_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.clients["main"], "send", lambda text: "sent")
    with pytest.raises(PatchError, match=r"send of one tests\.project\.gateway\.Client.*prepare"):
        call_concurrently(1, gateway.send_by_registry)


def test_prepare_answers_for_what_cannot_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.clients["main"], "send", lambda text: "sent")
    monkeypatch.setattr(gateway, "CURRENCY", "USD")
    with mock.patch(CHARGE, return_value=threading.Lock()), options(prepare=_prepare):
        assert list(call_concurrently(1, gateway.send_by_registry)) == ["prepared"]
        assert list(call_concurrently(1, gateway.currency)) == ["USD"]
        assert list(call_concurrently(1, gateway.pay)) == ["prepared"]


def _prepare() -> None:
    gateway.clients["main"].send = lambda text: "prepared"  # type: ignore[method-assign]
    gateway.charge = lambda *_, **__: "prepared"


def test_what_the_test_has_made_itself_may_be_patched_as_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Local:
        def act(self) -> None: ...

    local = Local()
    monkeypatch.setattr(local, "act", threading.Lock())
    monkeypatch.setattr(gateway.clients["main"], "key", "plain data of an object")
    assert list(call_concurrently(1, gateway.currency)) == ["EUR"]


def test_tools_of_the_test_may_be_patched_as_others_like(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(request.node, "obj", threading.Lock().acquire)  # as pytest-asyncio does with each test
    assert list(call_concurrently(1, gateway.currency)) == ["EUR"]


def test_nothing_is_left_of_a_patch_that_was_undone() -> None:
    with mock.patch(CHARGE, return_value="paid"):
        call_concurrently(1, gateway.pay)
    [wrapped] = call_concurrently(1, gateway.pay).errors
    assert isinstance(wrapped.error, gateway.RealThingError)


def test_the_error_of_a_patch_is_one_of_travelling() -> None:
    error = PatchError("shop.charge", "no")
    assert isinstance(error, UnpicklableError)
