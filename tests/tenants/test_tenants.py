"""The tenant, schema, role and variables of the test come along: what one program saw of it in its calls."""

import json
from typing import Any

import pytest

from tests.project.scripts import ROOT, run


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("tenants")
    ran = run(str(ROOT / "tests/tenants/program.py"), folder=folder, DJANGO_SETTINGS_MODULE="tests.tenants.settings")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return {**json.loads(ran.stdout.splitlines()[-1]), "errors": ran.stderr}


@pytest.mark.parametrize("how", ["fork", "spawn", "awaited"])
def test_calls_are_in_the_schema_of_the_test(seen: dict[str, Any], how: str) -> None:
    assert {schema for schema, *_ in seen[how]} == {"red"}


def test_coroutines_are_in_the_schema_of_the_test(seen: dict[str, Any]) -> None:
    assert seen["coroutine"] == [["red"]]


def test_calls_of_a_test_that_has_left_its_tenant_are_in_the_public_schema(seen: dict[str, Any]) -> None:
    assert [schema for schema, *_ in seen["without"]] == ["public"]


def test_explored_calls_are_in_the_schema_of_the_test_and_its_rows_are_put_back(seen: dict[str, Any]) -> None:
    assert seen["explored"] == "race"
    assert seen["stock in red"] == [9, 10]
    assert seen["stock in blue"] == [10, 10]


def test_a_policy_lets_calls_see_what_it_lets_the_test_see(seen: dict[str, Any]) -> None:
    assert seen["rows of a policy"] == [["cup"]]
    assert seen["role"] is True


def test_context_variables_and_thread_locals_have_the_values_of_the_test_but_for_caches(seen: dict[str, Any]) -> None:
    assert seen["variables"] == [["red", "green", 7, False]]


def test_a_search_path_that_is_set_before_each_statement_makes_no_noise(seen: dict[str, Any]) -> None:
    assert "unsupported syntax" not in seen["errors"]
