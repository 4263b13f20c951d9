"""One database operation as a short text, with its parameters filled in.

Made for reading: quotes, the name of a single table, `.get()`'s LIMIT and columns
that tell nothing are left out, so that the text cannot always be run.
"""

import re
from collections.abc import Collection, Iterable
from functools import lru_cache

from .._trace import Operation
from ..sql.statements import read_statement

_PLACEHOLDER = re.compile(r"%\((?P<name>\w+)\)s|%s|%%|\?(?=\s*[,)]|\s*$|\s+\w)")
_QUOTED = re.compile(r'(["`])(\w+)\1')
STAND_IN = re.compile("\x00(\\d+)\x00")
_SAVEPOINT = re.compile(r"\bs\d+_(x\d+)\b")
_SELECT = re.compile(r"^(SELECT (?:DISTINCT )?)(.+?)( FROM .*)$", re.DOTALL)
_SET = re.compile(r"^(UPDATE \S+ SET )(.+?)( WHERE .*| RETURNING .*|)$", re.DOTALL)
_INSERT = re.compile(r"^(INSERT INTO \S+) \(([^()]*)\) VALUES \(([^()]*)\)( .*|)$", re.DOTALL)
_COMMA = re.compile(r", (?![^()]*\))")
_WORTH_SHORTENING = 5
_LONGEST_LITERAL = 40
_VERBS = {"fetch": "FETCH of ", "many": "executemany: ", "callproc": "CALL "}


def operation_text(operation: Operation, telling: Collection[str] = ()) -> str:
    """Tell an operation in a line.

    Args:
        operation: Of a trace.
        telling: The columns to keep where there are many.
    """
    match operation.kind:
        case "commit" | "rollback":
            return operation.kind.upper()
        case "close":
            return "close the connection"
        case "step":
            return f"step({operation.text!r})"
        case "cache":
            return f"cache.{operation.text}({', '.join(repr(key) for key in operation.parameters or ())})"
    short = _shortened(operation.vendor, operation.text, operation.parameters is not None, tuple(sorted(telling)))
    parameters = operation.parameters or ()

    def filled(match: re.Match[str]) -> str:
        number = int(match[1])
        return literal(parameters[number]) if number < len(parameters) else "?"

    return _VERBS.get(operation.kind, "") + STAND_IN.sub(filled, short)


def literal(value: object) -> str:
    """A parameter as SQL writes it, not at full length."""
    match value:
        case None:
            return "NULL"
        case bool():
            return str(value).upper()
        case str():
            text = "'" + value.replace("'", "''").replace("\n", "\\n") + "'"
        case bytes():
            text = f"x'{value.hex()}'"
        case _:
            text = str(value)
    return text if len(text) <= _LONGEST_LITERAL else f"{text[: _LONGEST_LITERAL - 4]}...{text[-1]}"


@lru_cache(maxsize=4096)
def _shortened(vendor: str, sql: str, with_parameters: bool, telling: tuple[str, ...]) -> str:
    text = _QUOTED.sub(r"\2", " ".join(sql.split()))
    if with_parameters:
        text = with_stand_ins(text)
    statement = read_statement(vendor, sql, with_parameters)
    tables = statement.reads | statement.changes | statement.removals
    if len(tables) == 1:
        text = re.sub(rf"\b{re.escape(next(iter(tables)))}\.(?=\w)", "", text, flags=re.IGNORECASE)
    text = _SAVEPOINT.sub(r"\1", text.removesuffix(" LIMIT 21"))
    return _fewer_columns(text, telling)


def with_stand_ins(text: str) -> str:
    numbers: dict[str, int] = {}

    def numbered(match: re.Match[str]) -> str:
        if match[0] == "%%":
            return "%"
        return f"\x00{numbers.setdefault(match['name'] or str(len(numbers)), len(numbers))}\x00"

    return _PLACEHOLDER.sub(numbered, text)


def _fewer_columns(text: str, telling: Collection[str]) -> str:
    if match := _SELECT.match(text):
        columns = _COMMA.split(match[2])
        return match[1] + ", ".join(keep(columns, (_bare(each) for each in columns), telling)) + match[3]
    if match := _SET.match(text):
        pairs = _COMMA.split(match[2])
        return match[1] + ", ".join(keep(pairs, (each.split(" = ")[0] for each in pairs), telling)) + match[3]
    if match := _INSERT.match(text):
        columns, values = _COMMA.split(match[2]), _COMMA.split(match[3])
        names, kept = keep(columns, columns, telling), keep(values, columns, telling)
        return f"{match[1]} ({', '.join(names)}) VALUES ({', '.join(kept)}){match[4]}"
    return text


def _bare(column: str) -> str:
    return column.split(" AS ")[-1].split(".")[-1]


def keep(parts: list[str], names: Iterable[str], telling: Collection[str]) -> list[str]:
    """Of many parts those whose names tell something, or the first three, and an ellipsis."""
    if len(parts) < _WORTH_SHORTENING:
        return parts
    kept = [part for part, name in zip(parts, names, strict=False) if name in telling][:_WORTH_SHORTENING]
    return [*(kept or parts[:3]), "..."]
