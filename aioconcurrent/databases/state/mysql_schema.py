"""What the information schema of MariaDB and of MySQL says of the tables of one database."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...sql.statements import read_statement
from ..schema import KeyKind
from .tables import MANY, UNKNOWN_TABLE, Reference, Schema, Table, listed, moments, of_routine

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_TABLES = """
SELECT table_name, table_type, COALESCE(engine, ''), COALESCE(transactions, '') FROM information_schema.tables
LEFT JOIN information_schema.engines USING (engine) WHERE table_schema = DATABASE() ORDER BY table_name
"""
_COLUMNS = """
SELECT table_name, column_name, data_type, COALESCE(generation_expression, '') <> '', extra
FROM information_schema.columns WHERE table_schema = DATABASE() ORDER BY table_name, ordinal_position
"""
_PRIMARIES = """
SELECT table_name, column_name FROM information_schema.key_column_usage
WHERE table_schema = DATABASE() AND constraint_name = 'PRIMARY' ORDER BY table_name, ordinal_position
"""
_UNIQUES = """
SELECT table_name, index_name, column_name FROM information_schema.statistics
WHERE table_schema = DATABASE() AND NOT non_unique AND index_name <> 'PRIMARY'
"""
_INDEXED = """
SELECT table_name, column_name FROM information_schema.statistics WHERE table_schema = DATABASE()
"""
_REFERENCES = """
SELECT k.table_name, k.column_name, k.referenced_table_name, k.referenced_column_name, r.delete_rule, r.update_rule
FROM information_schema.key_column_usage k
JOIN information_schema.referential_constraints r
    ON r.constraint_schema = k.constraint_schema AND r.constraint_name = k.constraint_name
    AND r.table_name = k.table_name
WHERE k.table_schema = DATABASE() AND k.referenced_table_schema = DATABASE()
ORDER BY k.table_name, k.constraint_name, k.ordinal_position
"""
_VIEWS = "SELECT table_name, view_definition, DATABASE() FROM information_schema.views WHERE table_schema = DATABASE()"
_TRIGGERS = """
SELECT event_object_table, trigger_name, action_statement, definer, CONCAT(action_timing, ' ', event_manipulation)
FROM information_schema.triggers
WHERE trigger_schema = DATABASE() ORDER BY event_object_table, event_manipulation, action_timing, action_order
"""
_ROUTINES = """
SELECT routine_name, IF(routine_type = 'FUNCTION', routine_definition, NULL) FROM information_schema.routines
WHERE routine_schema = DATABASE()
"""
# MariaDB's sequences are objects of their own, which are not put back.
_COUNTING = """
SELECT DISTINCT table_name FROM information_schema.columns
WHERE table_schema = DATABASE() AND column_default LIKE '%nextval(%'
"""
_QUOTED = r"`((?:[^`]|``)+)`"
_ELSEWHERE = ("mrg_myisam", "federated", "connect", "spider")  # engines whose rows are those of other tables
_ACTIONS = ("CASCADE", "SET NULL", "SET DEFAULT")
# Types whose values are equal as numbers are; those of texts depend on collations.
_KINDS: dict[str, KeyKind] = {
    **dict.fromkeys(("tinyint", "smallint", "mediumint"), "small integer"),
    **dict.fromkeys(("int", "bigint"), "integer"),
    "uuid": "uuid",
}


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger as the information schema has it."""

    name: str
    body: str
    definer: str
    moment: str  # as in BEFORE INSERT


@dataclass(frozen=True)
class MysqlSchema(Schema):
    """What the state of a MariaDB or MySQL database needs besides.

    Attributes:
        counted: Tables with an AUTO_INCREMENT column, by the name that the server knows.
        types: The type of each column, by table.
        triggers: By table, its triggers in the order in which they fire.
        marking: Tables in whose indexes deleted rows stay for a while.
        indexed: The columns of all indexes of a table, in lower case.
    """

    counted: dict[str, Table] = field(default_factory=dict)
    types: dict[Table, dict[str, str]] = field(default_factory=dict)
    triggers: dict[Table, list[Trigger]] = field(default_factory=dict)
    marking: frozenset[Table] = frozenset()
    indexed: dict[Table, frozenset[str]] = field(default_factory=dict)


def read_schema(cursor: Any) -> MysqlSchema:
    """Read what the database holds that a driver's cursor is connected to.

    Rows of MariaDB's sequences, and of tables with its system versioning before now, are not looked at.
    """
    columns = listed((table, column) for table, *column in _all(cursor, _COLUMNS))
    primaries = listed(_all(cursor, _PRIMARIES))
    uniques: dict[str, dict[str, set[str]]] = {}
    for table, index, column in _all(cursor, _UNIQUES):
        of_table = uniques.setdefault(table, {})
        of_table.setdefault(index, set()).add(column or UNKNOWN_TABLE)  # MySQL has keys of expressions
    indexed: dict[str, set[str]] = {}
    for table, column in _all(cursor, _INDEXED):
        indexed.setdefault(table, set()).update(
            [column.casefold()] if column else (each[0].casefold() for each in columns[table])
        )
    kinds = {name: rest for name, *rest in _all(cursor, _TABLES)}
    tables = {
        name: _table(
            name,
            columns[name],
            primaries.get(name, []),
            uniques.get(name, {}).values(),
            plain=(kind, engine) == ("BASE TABLE", "InnoDB"),
        )
        for name, (kind, engine, _) in kinds.items()
        if kind in ("BASE TABLE", "SYSTEM VERSIONED") and engine.lower() not in _ELSEWHERE
    }
    bodies = listed((name.lower(), body) for name, body in _all(cursor, _ROUTINES))
    triggers: dict[Table, list[Trigger]] = {}
    fires: dict[str, int] = {}
    for name, trigger, body, *rest in _all(cursor, _TRIGGERS):
        triggers.setdefault(tables[name], []).append(Trigger(trigger, body, *rest))
        fires[name.lower()] = fires.get(name.lower(), 0) + moments(body, bodies)
    transactional = {name for name, (_, _, answer) in kinds.items() if answer == "YES"}
    known = {name.lower() for name in kinds}
    views = [
        _View(name.lower(), definition.lower(), database.lower()) for name, definition, database in _all(cursor, _VIEWS)
    ]
    counted = {name: number for name in bodies if (number := of_routine(name, bodies))}
    return MysqlSchema(
        tables=tuple(tables.values()),
        references=tuple(
            Reference(child.lower(), column, parent.lower(), parent_column, any(rule in _ACTIONS for rule in rules))
            for child, column, parent, parent_column, *rules in _all(cursor, _REFERENCES)
        ),
        views={view.name: view.mentioned(known, bodies.keys()) for view in views},
        locking=frozenset(view.name for view in views if view.locks),
        opaque=frozenset(table.name for table in triggers) | {name.lower() for (name,) in _all(cursor, _COUNTING)},
        routines=frozenset(bodies),
        moments=counted | {view.name: MANY for view in views if view.calls(counted)},
        fires={name: number for name, number in fires.items() if number},
        immediate=frozenset(table.name for name, table in tables.items() if name not in transactional),
        counted={name: table for name, table in tables.items() if any(_counts(column) for column in columns[name])},
        types={table: {column[0]: column[1].lower() for column in columns[name]} for name, table in tables.items()},
        triggers=triggers,
        indexed={table: frozenset(indexed.get(name, ())) for name, table in tables.items()},
        marking=frozenset(tables[name] for name in tables if kinds[name][:2] == ["BASE TABLE", "InnoDB"]),
    )


def quote(name: str) -> str:
    """Quote an identifier."""
    return "`" + name.replace("`", "``") + "`"


def _all(cursor: Any, query: str) -> list[Any]:
    cursor.execute(query)
    return [tuple(value.decode() if isinstance(value, bytes) else value for value in row) for row in cursor.fetchall()]


def _table(name: str, columns: list[Any], primary: list[str], uniques: Iterable[set[str]], *, plain: bool) -> Table:
    keys = frozenset(frozenset(key) for key in uniques)
    kinds = {
        column[0]: column[1].lower() for column in columns if plain and ([column[0]] == primary or not _counts(column))
    }
    return Table(
        name=name.lower(),
        quoted=quote(name),
        columns=tuple(column[0] for column in columns),
        generated=frozenset(column[0] for column in columns if column[2]),
        primary=tuple(primary),
        automatic=len(primary) == 1 and any(column[0] == primary[0] and _counts(column) for column in columns),
        uniques=keys,
        kinds=tuple((column, _KINDS[kind]) for column, kind in kinds.items() if kind in _KINDS),
        is_closed=not any(UNKNOWN_TABLE in key for key in keys) and not any(column[2] for column in columns),
    )


def _counts(column: Any) -> bool:
    return "auto_increment" in column[3].lower()


@dataclass(frozen=True, slots=True)
class _View:
    """A view; the server keeps its text with quoted names, and tables behind their database's."""

    name: str
    text: str  # empty where the role may not see it
    database: str

    def calls(self, routines: Collection[str]) -> bool:
        return any(name.replace("``", "`") in routines for name in re.findall(_QUOTED, self.text))

    @property
    def locks(self) -> bool:
        return re.search(r"\bfor update\b|\block in share mode\b", self.text) is not None

    def mentioned(self, known: Collection[str], routines: Collection[str]) -> frozenset[str]:
        if self.calls(routines) or not self._is_understood():
            return frozenset({UNKNOWN_TABLE})
        pairs = re.findall(rf"{_QUOTED}(?=\.{_QUOTED})", self.text)
        return frozenset(
            name for schema, one in pairs if schema == self.database and (name := one.replace("``", "`")) in known
        )

    def _is_understood(self) -> bool:
        """Whether it does no more than read and lock: GET_LOCK() and the like do."""
        return read_statement("mysql", self.text.replace(f"`{self.database}`.", ""), False).understood
