"""Triggers of MariaDB and MySQL, which fire whatever a session does: kept from firing in ours, and never lost.

Nothing in either server switches them off, and a trigger may write anywhere, refuse, or
change what is inserted.  So while rows are put back each is replaced by one that does the
same unless a variable of the session is set, as it is in ours.  A process that is killed
in the midst leaves triggers that work; the next one to come gives them their own texts.

MariaDB replaces a trigger in one statement, and keeps its place among others.  MySQL knows
no such statement: there it is dropped and made again, with nothing in between.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ...exceptions import StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .mysql_schema import Trigger

SILENCE = "SET @aioconcurrent_puts_back = 1"
_BEGIN, _END = "IF @aioconcurrent_puts_back IS NULL THEN ", "\n; END IF"
_ALL = """
SELECT event_object_table, event_manipulation, action_timing, trigger_name, action_statement
FROM information_schema.triggers WHERE trigger_schema = DATABASE() ORDER BY 1, 2, 3, action_order
"""
# Any of them lets a user make a trigger that is somebody else's.
_PRIVILEGES = "'SUPER', 'SET USER', 'SET_USER_ID', 'SET_ANY_DEFINER'"
_MAY_IMPERSONATE = f"SELECT COUNT(*) FROM information_schema.user_privileges WHERE privilege_type IN ({_PRIVILEGES})"


class Triggers:
    """The triggers of one database.

    Args:
        ask: Runs a query and returns its rows.
        replaces: Whether the server knows CREATE OR REPLACE TRIGGER.
    """

    def __init__(self, alias: str, ask: Callable[[str], list[Any]], *, replaces: bool) -> None:
        self._alias = alias
        self._ask = ask
        self._replaces = replaces
        self._user = ""
        self._may_impersonate = False

    def mend(self) -> None:
        """Give those their own texts that a killed process has left guarded."""
        found = self._ask(_ALL)
        for number, (*moment, name, body) in enumerate(found):
            if body.startswith(_BEGIN):
                behind = [other[3] for other in found[number + 1 :] if list(other[:3]) == moment]
                self._make(name, body, body.removeprefix(_BEGIN).removesuffix(_END), _before(behind))

    def check(self, trigger: Trigger) -> None:
        """See whether a trigger can be replaced.

        Raises:
            StateError: It is another user's, and ours may not make such.
        """
        if not self._user:
            ((self._user,),) = self._ask("SELECT CURRENT_USER()")
            self._may_impersonate = bool(self._ask(_MAY_IMPERSONATE)[0][0])
        if trigger.definer != self._user and not self._may_impersonate:
            raise StateError(
                self._alias,
                f"the trigger {trigger.name} is of {trigger.definer}, so that {self._user} cannot keep it from firing "
                f"while rows are put back. GRANT SET USER ON *.* TO {self._user} (SET_USER_ID on MySQL), or make the "
                "triggers as the user that the tests connect as.",
            )

    @contextmanager
    def silent(self, groups: list[list[Trigger]]) -> Iterator[None]:
        """Keep triggers from firing in this session for the length of a block.

        Args:
            groups: Those of each table, in the order in which they fire.
        """
        guarded: list[tuple[Trigger, str]] = []
        try:
            for group in groups:
                for number, trigger in enumerate(group):
                    behind = [other.name for other in group[number + 1 :] if other.moment == trigger.moment]
                    place = _before(behind)
                    guarded.append((trigger, place))
                    self._make(trigger.name, trigger.body, f"{_BEGIN}{trigger.body}{_END}", place)
            yield
        finally:
            for trigger, place in guarded:
                self._make(trigger.name, f"{_BEGIN}{trigger.body}{_END}", trigger.body, place)

    def _make(self, name: str, old: str, new: str, place: str = "") -> None:
        """Make a trigger anew with another body, under the settings that it was first made under, as mysqldump does."""
        _, mode, statement, charset, collation, *_ = self._ask(f"SHOW CREATE TRIGGER {_quoted(name)}")[0]
        if not statement.endswith(old):  # it has the new one
            return
        names = "sql_mode, character_set_client, collation_connection"
        ours = self._ask(f"SELECT @@{names.replace(', ', ', @@')}")[0]
        begin = statement.removesuffix(old).removeprefix("CREATE ")
        try:
            self._settings(mode, charset, collation)
            if not self._replaces:
                self._ask(f"DROP TRIGGER {_quoted(name)}")
            self._ask(f"CREATE {'OR REPLACE ' if self._replaces else ''}{begin}{place}{new}")
        finally:
            self._settings(*ours)

    def _settings(self, mode: str, charset: str, collation: str) -> None:
        self._ask(f"SET sql_mode = '{mode}', character_set_client = {charset}, collation_connection = {collation}")


def _before(names: list[str]) -> str:
    """The clause that gives a trigger its place before the first of these."""
    return f"PRECEDES {_quoted(names[0])} " if names else ""


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
