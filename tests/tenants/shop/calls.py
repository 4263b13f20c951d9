"""What the tests of tenants call."""

from contextvars import ContextVar
from threading import local

from asgiref.local import Local
from django.db import connection

from tests.tenants.shop.models import Item

current_tenant: ContextVar[str] = ContextVar("current_tenant", default="nobody")
by_thread = local()
by_task = Local()


def take(name: str) -> list[object]:
    """Take one from the stock the wrong way; tell where this was."""
    item = Item.objects.get(name=name)
    item.stock -= 1
    item.save()
    return where()


async def take_in_coroutine(name: str) -> list[object]:
    item = await Item.objects.aget(name=name)
    item.stock -= 1
    await item.asave()
    return [connection.schema_name]


def where() -> list[object]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_schema(), current_setting('shop.tenant', true), current_user <> session_user")
        return list(cursor.fetchone())


def names() -> list[str]:
    return list(Item.objects.values_list("name", flat=True))


def kept() -> list[object]:
    return [current_tenant.get(), by_thread.tenant, by_task.tenant.pk, hasattr(by_thread, "cache")]
