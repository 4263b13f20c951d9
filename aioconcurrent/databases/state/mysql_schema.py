"""What the information schema of MariaDB and of MySQL says of the tables of one database."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .schema import UNKNOWN, Reference, Schema, Table

if TYPE_CHECKING:
    from collections.abc import Iterable

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
SELECT event_object_table, trigger_name FROM information_schema.triggers WHERE trigger_schema = DATABASE()
ORDER BY event_object_table, event_manipulation, action_timing, action_order
"""
_ROUTINES = "SELECT routine_name FROM information_schema.routines WHERE routine_schema = DATABASE()"
_ELSEWHERE = ("mrg_myisam", "federated", "connect", "spider")  # engines whose rows are those of other tables
_ACTIONS = ("CASCADE", "SET NULL", "SET DEFAULT")


@dataclass(frozen=True)
class MysqlSchema(Schema):
    """What the state of a MariaDB or MySQL database needs besides.

    Attributes:
        counted: Tables with an AUTO_INCREMENT column, by the name that the server knows.
        types: The type of each column, by table.
        triggers: By table, the names of its triggers in the order in which they fire.
        marking: Tables in whose indexes deleted rows stay for a while.
    """

    counted: dict[str, Table] = field(default_factory=dict)
    types: dict[Table, dict[str, str]] = field(default_factory=dict)
    triggers: dict[Table, list[str]] = field(default_factory=dict)
    marking: frozenset[Table] = frozenset()


def read_schema(cursor: Any) -> MysqlSchema:
    """Read what the database holds that a driver's cursor is connected to.

    Rows of MariaDB's sequences, and of tables with its system versioning before now, are not looked at.
    """
    columns: dict[str, list[Any]] = {}
    for table, *column in _all(cursor, _COLUMNS):
        columns.setdefault(table, []).append(column)
    primaries: dict[str, list[str]] = {}
    for table, column in _all(cursor, _PRIMARIES):
        primaries.setdefault(table, []).append(column)
    uniques: dict[str, dict[str, set[str]]] = {}
    for table, index, column in _all(cursor, _UNIQUES):
        uniques.setdefault(table, {}).setdefault(index, set()).add(column or UNKNOWN)  # MySQL has keys of expressions
    kinds = {name: rest for name, *rest in _all(cursor, _TABLES)}
    tables = {
        name: _table(name, columns[name], primaries.get(name, []), uniques.get(name, {}).values())
        for name, (kind, engine, _) in kinds.items()
        if kind in ("BASE TABLE", "SYSTEM VERSIONED") and engine.lower() not in _ELSEWHERE
    }
    triggers: dict[Table, list[str]] = {}
    for name, trigger in _all(cursor, _TRIGGERS):
        triggers.setdefault(tables[name], []).append(trigger)
    transactional = {name for name, (_, _, answer) in kinds.items() if answer == "YES"}
    routines = frozenset(name.lower() for (name,) in _all(cursor, _ROUTINES))
    return MysqlSchema(
        tables=tuple(tables.values()),
        references=tuple(
            Reference(child.lower(), column, parent.lower(), parent_column, any(rule in _ACTIONS for rule in rules))
            for child, column, parent, parent_column, *rules in _all(cursor, _REFERENCES)
        ),
        views={
            view.lower(): _mentioned(definition, database, {name.lower() for name in kinds}, routines)
            for view, definition, database in _all(cursor, _VIEWS)
        },
        opaque=frozenset(table.name for table in triggers),
        routines=routines,
        immediate=frozenset(table.name for name, table in tables.items() if name not in transactional),
        counted={name: table for name, table in tables.items() if any(_counts(column) for column in columns[name])},
        types={table: {column[0]: column[1].lower() for column in columns[name]} for name, table in tables.items()},
        triggers=triggers,
        marking=frozenset(tables[name] for name in tables if kinds[name][:2] == ["BASE TABLE", "InnoDB"]),
    )


def quote(name: str) -> str:
    """Quote an identifier."""
    return "`" + name.replace("`", "``") + "`"


def _all(cursor: Any, query: str) -> list[Any]:
    cursor.execute(query)
    return [tuple(value.decode() if isinstance(value, bytes) else value for value in row) for row in cursor.fetchall()]


def _table(name: str, columns: list[Any], primary: list[str], uniques: Iterable[set[str]]) -> Table:
    return Table(
        name=name.lower(),
        quoted=quote(name),
        columns=tuple(column[0] for column in columns),
        generated=frozenset(column[0] for column in columns if column[2]),
        primary=tuple(primary),
        automatic=len(primary) == 1 and any(column[0] == primary[0] and _counts(column) for column in columns),
        uniques=frozenset(map(frozenset, uniques)),
    )


def _counts(column: Any) -> bool:
    return "auto_increment" in column[3].lower()


def _mentioned(definition: str, database: str, known: set[str], routines: frozenset[str]) -> frozenset[str]:
    """What a view names; the server keeps its text with quoted names, and tables behind their database's."""
    text = definition.lower()
    name = r"`((?:[^`]|``)+)`"
    if not text or any(one.replace("``", "`") in routines for one in re.findall(name, text)):
        return frozenset({UNKNOWN})  # the text is empty where the role may not see it
    pairs = re.findall(rf"{name}(?=\.{name})", text)
    return frozenset(one.replace("``", "`") for schema, one in pairs if schema == database.lower()) & known
