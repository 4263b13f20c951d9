"""Limits of time: those that would fall on a call that is held do not count, and the application's own do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connections

from tests.databases.stepping import stepped
from tests.project.databases import on
from tests.project.shop import moments
from tests.project.shop.models import Account

IMPATIENT = {
    "postgresql": {"options": "-c idle_in_transaction_session_timeout=200ms"},
    "mysql": {"init_command": "SET idle_transaction_timeout = 1, wait_timeout = 1"},
}


@pytest.fixture
def impatient(database: str) -> Iterator[str]:
    """A database that ends sessions which do nothing for a moment."""
    connection = connections[database]
    before: dict[str, Any] = connection.settings_dict["OPTIONS"]
    connection.close()
    connection.settings_dict["OPTIONS"] = {**before, **IMPATIENT[database]}
    try:
        yield database
    finally:
        connection.close()
        connection.settings_dict["OPTIONS"] = before


@pytest.mark.parametrize("database", on("postgresql", "mysql"))
def test_a_call_that_is_held_in_a_transaction_keeps_its_session(impatient: str) -> None:
    account = Account.objects.using(impatient).create(owner="ann", balance=1)
    calls = (moments.look_and_add, {"pk": account.pk, "using": impatient}), (moments.sleep, {"using": impatient})
    done = stepped(*calls, order=[0, 1, 0, 1], database=impatient)
    assert not [outcome for outcome in done.outcomes if isinstance(outcome, Exception)]
    assert [step.call for step in done.steps][:3] == [0, 1, 0]


@pytest.mark.parametrize("database", on("postgresql"))
def test_a_limit_of_the_applications_statements_is_told_as_what_it_is(database: str) -> None:
    (outcome,) = stepped((moments.sleep_too_long, {"using": database}), database=database).outcomes
    assert isinstance(outcome, OperationalError)
    assert "statement timeout" in str(outcome)
