"""One database operation for reading: on one line, or laid out over several.

On one line, quotes, the name of a single table, `.get()`'s LIMIT and columns that tell
nothing are left out, so the text cannot always be run.  Laid out over several lines, not a
word is changed.  sqlglot finds the tokens there, but its own pretty printer is not used: it
writes another statement of the same meaning, and here the statement is evidence.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from typing import Literal, NamedTuple

from sqlglot import Dialect, TokenType
from sqlglot.errors import SqlglotError

from ..base.trace import Operation, task_text
from ..sql.statements import DIALECTS, read_statement, with_places

_QUOTED = re.compile(r'(["`])(\w+)\1')
_STAND_IN = re.compile("\x00(\\d+)\x00")
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
        case "enqueue":
            return f"enqueue {task_text(operation)}"
        case "cache":
            return f"cache.{operation.text}({', '.join(repr(key) for key in operation.parameters or ())})"
    short = _shortened(operation.vendor, operation.text, operation.parameters is not None, tuple(sorted(telling)))
    parameters = operation.parameters or ()

    def filled(match: re.Match[str]) -> str:
        number = int(match[1])
        return literal(parameters[number]) if number < len(parameters) else "?"

    return _VERBS.get(operation.kind, "") + _STAND_IN.sub(filled, short)


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
        text = with_places(vendor, text, "\x00{}\x00".format)
    statement = read_statement(vendor, sql, with_parameters)
    tables = statement.reads | statement.changes | statement.removals
    if len(tables) == 1:
        text = re.sub(rf"\b{re.escape(next(iter(tables)))}\.(?=\w)", "", text, flags=re.IGNORECASE)
    text = _SAVEPOINT.sub(r"\1", text.removesuffix(" LIMIT 21"))
    return _fewer_columns(text, telling)


def _fewer_columns(text: str, telling: Collection[str]) -> str:
    if match := _SELECT.match(text):
        columns = _COMMA.split(match[2])
        return (
            match[1]
            + ", ".join(keep(columns, (each.split(" AS ")[-1].split(".")[-1] for each in columns), telling))
            + match[3]
        )
    if match := _SET.match(text):
        pairs = _COMMA.split(match[2])
        return match[1] + ", ".join(keep(pairs, (each.split(" = ")[0] for each in pairs), telling)) + match[3]
    if match := _INSERT.match(text):
        columns, values = _COMMA.split(match[2]), _COMMA.split(match[3])
        names, kept = keep(columns, columns, telling), keep(values, columns, telling)
        return f"{match[1]} ({', '.join(names)}) VALUES ({', '.join(kept)}){match[4]}"
    return text


def keep(parts: list[str], names: Iterable[str], telling: Collection[str]) -> list[str]:
    """Shorten a long list to the parts whose names tell something, or else to the first three, and an ellipsis."""
    if len(parts) < _WORTH_SHORTENING:
        return parts
    kept = [part for part, name in zip(parts, names, strict=False) if name in telling][:_WORTH_SHORTENING]
    return [*(kept or parts[:3]), "..."]


class Bit(NamedTuple):
    """A piece of a statement."""

    text: str
    kind: Literal["", "keyword", "string", "value"] = ""


_BETWEEN_QUERIES = frozenset({"UNION", "INTERSECT", "EXCEPT"})
_CLAUSES = frozenset({"FROM", "WHERE", "SET", "VALUES", "ORDER BY", "GROUP BY", "HAVING", "LIMIT", "OFFSET"})
_LATE_CLAUSES = frozenset({"RETURNING", "FOR"})
_JOINS = frozenset({"LEFT", "RIGHT", "FULL", "INNER", "CROSS", "NATURAL", "OUTER", "JOIN"})
_CONFLICTS = frozenset({"CONFLICT", "DUPLICATE"})
_NO_KEYWORDS = frozenset({TokenType.VAR, TokenType.IDENTIFIER, TokenType.NUMBER})
_REMEMBERED = 2048
_LINE = 64
_INDENT = "  "


def formatted(operation: Operation) -> list[Bit]:
    """Lay out the statement of an operation over several lines, with its parameters in their places."""
    text = operation.text.strip()
    if operation.parameters is None or operation.kind == "many":
        return list(_laid_out(text, operation.vendor))
    text = with_places(operation.vendor, text, "\x00{}\x00".format)
    return list(_filled(_laid_out(text, operation.vendor), operation.parameters))


def highlighted(text: str, vendor: str) -> list[Bit]:
    """Tell apart the keywords and strings of a text in one line."""
    bits, end = [], 0
    for token in _tokens(text, vendor):
        bits += [Bit(text[end : token.start]), Bit(text[token.start : token.end], token.kind)]
        end = token.end
    return _joined([*bits, Bit(text[end:])])


class _Token(NamedTuple):
    start: int
    end: int
    kind: Literal["", "keyword", "string"]


@lru_cache(maxsize=_REMEMBERED)
def _tokens(text: str, vendor: str) -> tuple[_Token, ...]:
    try:
        found = Dialect.get_or_raise(DIALECTS.get(vendor, "sqlite")).tokenize(text)
    except (SqlglotError, ValueError):
        return ()
    return tuple(_Token(each.start, each.end + 1, _kind(text[each.start : each.end + 1], each)) for each in found)


def _kind(source: str, token: object) -> Literal["", "keyword", "string"]:
    kind = getattr(token, "token_type", None)
    if kind is TokenType.STRING:
        return "string"
    return "keyword" if kind not in _NO_KEYWORDS and source[:1].isalpha() and source.isupper() else ""


def _laid_out(text: str, vendor: str) -> list[Bit]:
    tokens = _tokens(text, vendor)
    words = [" ".join(text[token.start : token.end].upper().split()) for token in tokens]
    bits: list[Bit] = []
    layout = _Layout()
    end = 0
    for index, (token, word) in enumerate(zip(tokens, words, strict=True)):
        gap = text[end : token.start]
        lead = layout.lead(words, index, gap if gap.strip() else " " * bool(gap))
        bits += [Bit(lead), Bit(text[token.start : token.end], token.kind)]
        layout.passed(word, words[index + 1 : index + 2], token.end - token.start)
        end = token.end
    return _joined([*bits, Bit(text[end:])])


class _Layout:
    """Where lines break: before clauses and conditions, and after commas in long lists."""

    def __init__(self) -> None:
        self._nested: list[bool] = []  # each open parenthesis, and whether a query is in it
        self._column = 0

    def lead(self, words: list[str], index: int, gap: str) -> str:
        """What stands before a word, given what stood there."""
        indent = _INDENT * sum(self._nested)
        if index and words[index - 1] == "(" and self._nested[-1] and not gap.strip():
            return self._line(indent)
        if not index or not gap.isspace():
            self._column += len(gap)
            return gap
        word, before = words[index], words[index - 1]
        if (not self._nested or self._nested[-1]) and _begins_clause(words, index):
            return self._line(indent)
        if word in ("AND", "OR") and self._parentheses_within_clause() <= 1:
            return self._line(indent + _INDENT)
        if before == "," and self._column > _LINE:
            return self._line(indent + _INDENT * 2)
        self._column += 1
        return " "

    def passed(self, word: str, following: list[str], length: int) -> None:
        """Take note of a word that was written."""
        self._column += length
        if word == "(":
            self._nested.append(following in (["SELECT"], ["WITH"]))
        elif word == ")" and self._nested:
            self._nested.pop()

    def _line(self, indent: str) -> str:
        self._column = len(indent)
        return f"\n{indent}"

    def _parentheses_within_clause(self) -> int:
        inner = [*reversed(self._nested)]
        return inner.index(True) if True in inner else len(inner)


def _begins_clause(words: list[str], index: int) -> bool:
    word, before = words[index], words[index - 1]
    if word in _JOINS:
        return before not in _JOINS
    if word == "ON":
        return words[index + 1 : index + 2] != [] and words[index + 1] in _CONFLICTS
    return (word in _CLAUSES and before != "DELETE") or word in _BETWEEN_QUERIES or word in _LATE_CLAUSES


def _filled(bits: list[Bit], parameters: tuple[object, ...]) -> Iterator[Bit]:
    for bit in bits:
        for index, part in enumerate(_STAND_IN.split(bit.text)):
            if index % 2:
                number = int(part)
                yield Bit(literal(parameters[number]) if number < len(parameters) else "?", "value")
            elif part:
                yield bit._replace(text=part)


def _joined(bits: list[Bit]) -> list[Bit]:
    """Make one of neighbours of a kind."""
    joined: list[Bit] = []
    for bit in bits:
        if joined and joined[-1].kind == bit.kind:
            joined[-1] = Bit(joined[-1].text + bit.text, bit.kind)
        elif bit.text:
            joined.append(bit)
    return joined
