"""For projects whose tests are derived from Django's `TestCase`: runs the same tests with commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django.test import TestCase as _Base
else:
    _Base = object


class WithCommits(_Base):
    """Put before a base class that is derived from `TestCase`, this lets its tests run outside of any transaction.

    Other processes then see the rows of a test, as in a `TransactionTestCase`.  `setUpTestData` runs before each
    test, and after each test all tables are flushed and get back what migrations have put into them.

        class TestCheckout(WithCommits, ShopTestCase):
            def test_the_last_ticket_is_sold_once(self): ...
    """

    serialized_rollback = True  # or the rows of migrations would be missing in the tests that come next

    @classmethod
    def _databases_support_transactions(cls) -> bool:
        """What `TestCase` asks to know whether it may begin one."""
        return False

    @classmethod
    def _fixture_setup(cls) -> None:
        cls.serialized_rollback = False  # the rows of migrations are there, and `setUpTestData` may have changed them
        try:
            super()._fixture_setup()  # type: ignore[misc]  # the stubs leave out what begins so
        finally:
            cls.serialized_rollback = True

    def _fixture_teardown(self) -> None:
        from django.db import connections

        super()._fixture_teardown()  # type: ignore[misc]
        names: Any = self._databases_names(include_mirrors=False)  # type: ignore[attr-defined]
        for connection in (connections[name] for name in names):
            if hasattr(connection, "_test_serialized_contents"):
                connection.creation.deserialize_db_from_string(connection._test_serialized_contents)
