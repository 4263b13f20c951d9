"""What is secret stands nowhere in a story: stars stand for it."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from aioconcurrent.base.trace import Run
from aioconcurrent.report.page import as_page
from aioconcurrent.results.exploration import story_of_exploration
from aioconcurrent.sql.secrets import Secrets, hidden_texts
from aioconcurrent.sync import call_concurrently, explore, options
from tests.explore.traces import Tracer
from tests.project.databases import on
from tests.project.office import tales as t
from tests.project.office.models import Post

READ = 'SELECT "user"."id", "user"."password", "user"."name" FROM "user" WHERE "user"."id" = %s'
LOOK = 'SELECT "session"."id" FROM "session" WHERE "session"."session_key" = %s'
SET_KEY = "key-of-the-application"


def test_a_column_with_a_secret_name_hides_its_value_wherever_it_stands() -> None:
    tracer = Tracer()
    steps = [
        tracer.sql(0, READ, (1,), rows=[{"id": 1, "password": "correct horse", "name": "ann"}]),
        tracer.sql(0, LOOK, ("session of ann",)),
        tracer.sql(1, 'UPDATE "user" SET "name" = %s', ("correct horse",), error="ValueError: not correct horse"),
    ]
    secrets = Secrets(steps)
    shown = repr(secrets.run(Run(({"reset": "correct horse"}, ValueError("no session of ann")), {}, tuple(steps))))
    assert "correct horse" not in shown
    assert "session of ann" not in shown
    assert "'ann'" in shown
    assert secrets.text("correct horse") == "****1"


def test_a_secret_in_a_list_is_hidden() -> None:
    row = {"id": 1, "password": "correct horse", "name": ["correct horse", "ann"]}
    steps = [Tracer().sql(0, READ, (1,), rows=[row])]
    assert Secrets(steps).steps(steps)[0].rows[0][2] == ["****1", "ann"]


@pytest.mark.parametrize("database", on("file"))
def test_a_secret_that_was_written_is_hidden_in_the_texts_of_all_calls(database: str) -> None:
    Post.objects.using(database).create(pk=11, token="token of the first")
    found = explore(*((t.renew_token, {"token": f"token of {who}", "using": database}) for who in ("ann", "bob")))
    assert found.counterexample, found
    assert "token of" not in "".join(found.calls)


def test_equal_secrets_have_equal_stars() -> None:
    tracer = Tracer()
    rows = [{"id": number, "password": secret, "name": ""} for number, secret in enumerate(["first one", "other one"])]
    steps = Secrets(many := [tracer.sql(0, READ, (1,), rows=[row]) for row in (*rows, rows[0])]).steps(many)
    first, other, again = (step.rows[0][1] for step in steps)
    assert first == again != other


@pytest.mark.parametrize(
    "secret",
    [
        "pbkdf2_sha256$720000$abc$def=",
        "eyJ1c2VyIjoxfQ:1xWukb:j_NGK2Sip_mrL6OOOJ",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    ],
)
def test_a_secret_is_known_by_its_form(secret: str) -> None:
    assert secret not in Secrets([]).text(f"it was {secret} here")


def test_flags_and_short_kinds_are_none() -> None:
    steps = [Tracer().sql(0, READ, (1,), rows=[{"id": 1, "password": "old", "name": "ann"}])]
    assert Secrets(steps).steps(steps) == tuple(steps)


def test_hidden_settings_are_secret_and_names_of_models_and_caches_are_not(settings: Settings) -> None:
    settings.PAYMENT_API_KEY = SET_KEY
    settings.SERVICES = {"mail": {"PASSWORD": "a long password", "HOST": "mail.example.org"}}
    settings.AUTH_USER_MODEL = "accounts.Customer"
    settings.CACHES = {"default": {**settings.CACHES["default"], "KEY_PREFIX": "shop-of-ann"}}
    hidden = hidden_texts()
    assert {SET_KEY, "a long password"} <= hidden
    assert not hidden & {"accounts.Customer", "shop-of-ann", "mail.example.org"}


@pytest.mark.parametrize("database", on("file"))
def test_no_secret_is_in_what_exploring_tells(database: str, settings: Settings) -> None:
    settings.PAYMENT_API_KEY = SET_KEY
    Post.objects.using(database).create(pk=11, token="token of the first")
    found = explore(*((t.renew_token, {"token": f"{SET_KEY} {n}", "using": database}) for n in "12"))
    assert found.counterexample, found
    assert found.counterexample.anomaly == "lost update"
    told = f"{found}{as_page(story_of_exploration(found, 't'))}{found.to_json()}"
    assert "****" in found.to_json()
    assert "token of the first" not in told
    assert SET_KEY not in told


@pytest.mark.parametrize("database", on("file"))
def test_no_secret_is_in_the_lanes_of_a_race(database: str) -> None:
    Post.objects.using(database).create(pk=11, token="token of the first")
    with options(record=True):
        outcomes = call_concurrently(2, t.renew_token, token="token of both", using=database)
    outcomes.raise_errors()
    lanes = outcomes.lanes()
    assert "****" in lanes
    assert "token of" not in lanes.partition("\n──")[2]
