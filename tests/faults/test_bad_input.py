"""Input that is refused, with a text that says what to write instead, and nothing started."""

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.test import AsyncClient, Client
from rest_framework.test import APIClient

import aioconcurrent
from aioconcurrent import (
    TokenError,
    UnpicklableError,
    WrappedError,
    call_concurrently,
    make_concurrent_calls,
    options,
    sync,
)
from tests.faults import calls, raises
from tests.faults.processes import signed_in

NUMBERS = [
    (0, ValueError, "Cannot make 0 calls: concurrency must be at least 1"),
    (-3, ValueError, "Cannot make -3 calls: concurrency must be at least 1"),
    (True, TypeError, "an integer of at least 1, not True"),
    (2.0, TypeError, "an integer of at least 1, not 2.0"),
    ("5", TypeError, "an integer of at least 1, not '5'"),
    (calls.answer, TypeError, r"call_concurrently\(5, function, ...\)"),
]
TARGETS = [
    (None, TypeError, "target of call 2 of 2 is None, which is not callable; pass a function"),
    (7, TypeError, "target of call 2 of 2 is 7, which is not callable; pass a function"),
    ("function", ValueError, "target of call 2 of 2 is 'function'; .* the form \"package.module:function\""),
    ("package.module.function", ValueError, 'the form "package.module:function"'),
    (":function", ValueError, 'the form "package.module:function"'),
    ("package:", ValueError, 'the form "package.module:function"'),
    ("package module:function", ValueError, 'the form "package.module:function"'),
]
FORMS: list[tuple[object, str]] = [
    ((calls.answer,), ""),
    ((calls.answer, 1), ""),
    ((calls.answer, {}, ()), ""),
    ((calls.answer, (), {}, {}), ""),
    ("package.module:function", ""),
    (None, ""),
    (..., r'"\.\.\." stands for the calls that the order was found with: write them in its place'),
    (2, r"For 2 calls that are alike write \*\[\(function, kwargs\)\] \* 2"),
    ([(calls.answer, {}), (calls.answer, {})], r"A list of calls is passed with a star, as \*calls"),
]
BAD_TARGETS: list[tuple[str, type[Exception], str]] = [
    ("tests.faults.nowhere:function", ModuleNotFoundError, "No module named 'tests.faults.nowhere'"),
    ("nowhere.at.all:function", ModuleNotFoundError, "No module named 'nowhere'"),
    ("tests.faults.calls:nowhere", AttributeError, "'tests.faults.calls' has no attribute 'nowhere'"),
    ("tests.faults.calls:answer.nowhere", AttributeError, "has no attribute 'nowhere'"),
]


@pytest.mark.parametrize(("concurrency", "kind", "text"), NUMBERS)
async def test_a_number_of_calls_below_one_is_refused(concurrency: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        await call_concurrently(concurrency, calls.answer)
    with pytest.raises(kind, match=text), options(start_method="inline"):
        await call_concurrently(concurrency, calls.answer)


@pytest.mark.parametrize(("concurrency", "kind", "text"), NUMBERS)
def test_a_number_of_calls_below_one_is_refused_when_blocking(
    concurrency: Any, kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        sync.call_concurrently(concurrency, calls.answer)


async def test_no_calls_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no calls to make: pass at least one of \(function, kwargs\)"):
        await make_concurrent_calls()
    with pytest.raises(ValueError, match="no calls to make"):
        await make_concurrent_calls(*[])


def test_no_calls_are_refused_when_blocking() -> None:
    with pytest.raises(ValueError, match="no calls to make"):
        sync.make_concurrent_calls()


@pytest.mark.parametrize(("target", "kind", "text"), TARGETS)
async def test_a_target_that_is_nothing_to_call_is_refused_before_anything_runs(
    target: object, kind: type[Exception], text: str, folder: Path
) -> None:
    with pytest.raises(kind, match=text):
        await make_concurrent_calls((calls.sign_in, (folder,), {}), (target, {}))
    assert not signed_in(folder)


@pytest.mark.parametrize(("form", "advice"), FORMS)
async def test_a_call_of_another_form_is_refused_with_the_forms_there_are(form: object, advice: str) -> None:
    forms = r"\(function, kwargs\), .*functools.partial.*, or a function\."
    with pytest.raises(TypeError, match=rf"Call 2 is .*; a call is {forms}.*{advice}"):
        await make_concurrent_calls((calls.answer, {}), form)


async def test_a_function_alone_is_a_call_without_arguments() -> None:
    assert await make_concurrent_calls(calls.answer, partial(max, 1, 2)) == [42, 2]


async def test_a_call_may_have_positional_arguments_alone() -> None:
    assert await make_concurrent_calls((max, [1, 2]), (max, (3, 4)), ("builtins:max", [5, 6])) == [2, 4, 6]


@pytest.mark.parametrize("arguments", [("function",), ()])
async def test_a_coroutine_is_no_target_and_the_text_names_its_function(arguments: tuple[str, ...]) -> None:
    async def sell() -> None: ...

    coroutine = sell()
    call: Any = (coroutine, {}) if arguments else coroutine
    with pytest.raises(TypeError, match=r"target of call 1 of 1 is a coroutine, returned by .*sell\(...\)"):
        await make_concurrent_calls(call)


@pytest.mark.parametrize("client", [Client(), AsyncClient(), APIClient()])
async def test_a_method_of_a_test_client_is_no_target_and_the_text_says_what_is(client: Any) -> None:
    line = r"\(request, \[\"post\", \"/path/\"\], .*from aioconcurrent.http import request"
    with pytest.raises(TypeError, match=rf"target of call 1 of 2 is a method of a test client.*{line}"):
        await call_concurrently(2, client.post, "/buy/")


@pytest.mark.parametrize("api", [sync, aioconcurrent])
@pytest.mark.parametrize("name", ["explore", "replay"])
async def test_a_keyword_that_is_none_of_explore_is_told_with_the_one_that_is(api: Any, name: str) -> None:
    with pytest.raises(
        TypeError, match=rf"{name}\(\) got an unexpected keyword argument 'refusal' \(did you mean 'refusals"
    ):
        await getattr(api, name)("token", (calls.answer, {}), refusal=LookupError)
    with pytest.raises(
        TypeError, match=r"argument 'show'\. An argument of a function stands beside it, as in \(function, "
    ):
        await getattr(api, name)("token", (calls.answer, {}), show=7)


def test_a_token_of_more_calls_than_there_are_is_refused() -> None:
    with pytest.raises(TokenError, match=r"order of at least 5 calls, and 2 were passed\. Pass the calls"):
        sync.replay("aioc1:0.4.1:abcd", calls.answer, calls.answer)


@pytest.mark.parametrize("refusals", ["IntegrityError", LookupError("sold out"), 5, ["IntegrityError"], None])
def test_refusals_are_classes(refusals: Any) -> None:
    with pytest.raises(TypeError, match=r"must be exception classes, not .*: write refusals=\(IntegrityError,\)"):
        sync.explore(calls.answer, calls.answer, refusals=refusals)


async def test_keyword_arguments_have_strings_as_names() -> None:
    with pytest.raises(TypeError, match=r"arguments of call 1 must have strings as names: \{1: 2\}"):
        await make_concurrent_calls((calls.answer, {1: 2}))


@pytest.mark.parametrize(("target", "kind", "text"), BAD_TARGETS)
async def test_a_string_target_that_does_not_import_fails_its_call_alone(
    target: str, kind: type[Exception], text: str
) -> None:
    outcomes = await make_concurrent_calls((target, {}), (calls.answer, {}))
    check_bad_target(outcomes, target, kind, text)


def test_a_string_target_that_does_not_import_fails_its_call_alone_in_an_interpreter_of_its_own() -> None:
    with options(start_method="spawn"):
        outcomes = sync.make_concurrent_calls(*((target, {}) for target, _, _ in BAD_TARGETS), (calls.answer, {}))
    assert outcomes.values == [42]
    for outcome, (_, kind, text) in zip(outcomes, BAD_TARGETS, strict=False):
        assert isinstance(outcome.error, kind)
        assert text in str(outcome.error)


@pytest.mark.parametrize(("target", "kind", "text"), BAD_TARGETS)
def test_a_string_target_that_does_not_import_fails_its_call_alone_inline(
    target: str, kind: type[Exception], text: str
) -> None:
    with options(start_method="inline"):
        outcomes = sync.make_concurrent_calls((target, {}), (calls.answer, {}))
    assert isinstance(outcomes[0].error, kind)
    assert text in str(outcomes[0].error)
    assert outcomes[1] == 42


def check_bad_target(outcomes: list[Any], target: str, kind: type[Exception], text: str) -> None:
    wrapped, value = outcomes
    assert isinstance(wrapped, WrappedError)
    assert isinstance(wrapped.error, kind)
    assert f"call 1 of 2, {target.replace(':', '.')}()" in str(wrapped)
    assert text in str(wrapped)
    assert "importing the function" in wrapped.error.__notes__[0]
    assert value == 42


@pytest.mark.parametrize(("statement", "kind"), [("1 / 0", ZeroDivisionError), ("raise SystemExit('no')", SystemExit)])
async def test_a_module_that_fails_at_import_fails_its_call_alone(
    statement: str, kind: type[BaseException], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "fails_at_import.py").write_text(statement)
    monkeypatch.syspath_prepend(folder)
    wrapped, value = await make_concurrent_calls(("fails_at_import:function", {}), (calls.answer, {}))
    assert isinstance(wrapped.error, kind)
    assert "call 1 of 2, fails_at_import.function()" in str(wrapped)
    assert value == 42


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "shown"),
    [
        (calls.answer, (threading.Lock(),), {}, r"tests.faults.calls.answer\(<lock>\)"),
        (calls.answer, (), {"value": threading.Lock()}, r"tests.faults.calls.answer\(value=<lock>\)"),
    ],
)
async def test_an_argument_that_cannot_be_pickled_is_refused_before_anything_runs(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], shown: str, folder: Path
) -> None:
    with pytest.raises(UnpicklableError, match=f"argument of call 2 of 2, {shown} cannot .* primary key"):
        await make_concurrent_calls((calls.sign_in, (folder,), {}), (function, args, kwargs))
    assert not signed_in(folder)


async def test_a_closure_over_what_cannot_be_pickled_is_refused_by_its_name() -> None:
    lock = threading.Lock()

    def use_lock() -> object:
        return lock

    with pytest.raises(UnpicklableError, match=r"call 1 of 1, .*use_lock\(\) cannot .*'_thread.lock'"):
        await call_concurrently(1, use_lock)


async def test_an_argument_that_cannot_be_unpickled_fails_its_call_alone() -> None:
    wrapped, value = await make_concurrent_calls((calls.answer, (raises.Unreadable(),), {}), (calls.answer, {}))
    assert isinstance(wrapped.error, ValueError)
    assert "call 1 of 2, tests.faults.calls.answer(<Unreadable>)" in str(wrapped)
    assert value == 42


async def test_a_prepare_that_cannot_be_pickled_is_refused() -> None:
    with (
        options(prepare=partial(calls.answer, threading.Lock())),
        pytest.raises(UnpicklableError, match="prepare cannot travel"),
    ):
        await call_concurrently(1, calls.answer)


@pytest.mark.parametrize(("target", "kind", "text"), BAD_TARGETS)
async def test_a_prepare_that_does_not_import_fails_the_calls(target: str, kind: type[Exception], text: str) -> None:
    with options(prepare=target):
        [wrapped] = await call_concurrently(1, calls.answer)
    assert isinstance(wrapped.error, kind)
    assert text in str(wrapped)
    assert "prepare" in wrapped.error.__notes__[0]


async def test_a_prepare_that_raises_fails_the_calls(start_method: str, folder: Path) -> None:
    with options(prepare=raises.raise_from_cause):
        [wrapped] = (await call_concurrently(1, calls.sign_in, folder)).errors
    assert isinstance(wrapped.error, ValueError)
    assert wrapped.error.__notes__[0] == "seen on a Tuesday"
    assert "tests.faults.calls.sign_in(<PosixPath>) was running prepare" in wrapped.error.__notes__[1]
    assert not signed_in(folder)
