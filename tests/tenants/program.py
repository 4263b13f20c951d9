"""Races and explores with a tenant, a schema, a role and variables of the test's own, and prints what the calls saw."""

import json
import warnings

import django

django.setup()

from asgiref.sync import async_to_sync  # noqa: E402
from django.db import connection  # noqa: E402
from django.test.utils import setup_databases, teardown_databases  # noqa: E402
from django_tenants.utils import schema_context  # noqa: E402

import aioconcurrent  # noqa: E402
from aioconcurrent.sync import call_concurrently, explore, options  # noqa: E402
from tests.tenants.shop import calls  # noqa: E402
from tests.tenants.shop.models import Client, Item  # noqa: E402

POLICY = """
ALTER TABLE blue.shop_item ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON blue.shop_item USING (name = current_setting('shop.tenant', true));
CREATE ROLE {role};
GRANT USAGE ON SCHEMA blue TO {role};
GRANT ALL ON ALL TABLES IN SCHEMA blue TO {role};
SET ROLE {role};
SET shop.tenant = 'cup'
"""
UNDO = "RESET ROLE; RESET shop.tenant; DROP OWNED BY {role}; DROP ROLE {role}"


def execute(statements: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statements.format(role=f"clerk_{connection.settings_dict['NAME'].rpartition('_')[2]}"))


def stock() -> list[int]:
    return list(Item.objects.order_by("name").values_list("stock", flat=True))


def told() -> dict[str, object]:
    found: dict[str, object] = {}
    for name in ("red", "blue"):
        Client.objects.create(schema_name=name)
        with schema_context(name):
            Item.objects.create(name="cup", stock=10)
            Item.objects.create(name="plate", stock=10)
    with schema_context("red"):
        found["fork"] = list(call_concurrently(2, calls.where))
        with options(start_method="spawn"):
            found["spawn"] = list(call_concurrently(1, calls.where))
        found["coroutine"] = list(call_concurrently(1, calls.take_in_coroutine, "cup"))
        found["awaited"] = list(async_to_sync(aioconcurrent.call_concurrently)(1, calls.where))
        found["explored"] = explore(*[(calls.take, {"name": "cup"})] * 2).verdict
        found["stock in red"] = stock()
    found["without"] = list(call_concurrently(1, calls.where))
    with schema_context("blue"):
        found["stock in blue"] = stock()
        execute(POLICY)
        try:
            found["rows of a policy"] = list(call_concurrently(1, calls.names))
            found["role"] = call_concurrently(1, calls.where)[0][2]
        finally:
            execute(UNDO)
    calls.current_tenant.set("red")
    calls.by_thread.tenant, calls.by_task.tenant = "green", Item(pk=7)
    calls.by_thread.cache = {"red": 1}
    found["variables"] = list(call_concurrently(1, calls.kept))
    return found


def main() -> None:
    databases = setup_databases(0, interactive=False)
    try:
        found = told()
    finally:
        connection.close()
        teardown_databases(databases, 0)
    print(json.dumps(found, default=repr))


if __name__ == "__main__":
    warnings.simplefilter("error")
    main()
