"""SQL laid out for reading."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioconcurrent.base.trace import Operation
from aioconcurrent.report.sql import Bit, formatted, highlighted


def laid_out(sql: str, *parameters: str | int | None, vendor: str = "postgresql") -> str:
    return "".join(bit.text for bit in formatted(Operation("sql", sql, parameters, vendor)))


def test_clauses_begin_lines_and_parameters_are_in_their_places() -> None:
    sql = 'SELECT "a"."id", "a"."x" FROM "a" WHERE ("a"."id" = %s AND "a"."x" = %s) ORDER BY 1 LIMIT 21 FOR UPDATE'
    assert laid_out(sql, 1, "it's").splitlines() == [
        'SELECT "a"."id", "a"."x"',
        'FROM "a"',
        'WHERE ("a"."id" = 1',
        "  AND \"a\".\"x\" = 'it''s')",
        "ORDER BY 1",
        "LIMIT 21",
        "FOR UPDATE",
    ]


def test_a_query_within_is_indented() -> None:
    sql = 'SELECT 1 FROM "a" WHERE EXISTS(SELECT 1 FROM "b" U0 WHERE U0."id" = %s)'
    assert laid_out(sql, 3).splitlines() == [
        "SELECT 1",
        'FROM "a"',
        "WHERE EXISTS(",
        "  SELECT 1",
        '  FROM "b" U0',
        '  WHERE U0."id" = 3)',
    ]


@pytest.mark.parametrize(
    ("sql", "lines"),
    [
        ("DELETE FROM t WHERE a = 1", ["DELETE FROM t", "WHERE a = 1"]),
        ("UPDATE t SET a = 1 WHERE b = 2", ["UPDATE t", "SET a = 1", "WHERE b = 2"]),
        (
            "INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO NOTHING RETURNING id",
            ["INSERT INTO t (a)", "VALUES (1)", "ON CONFLICT (a) DO NOTHING", "RETURNING id"],
        ),
        ("SELECT a FROM t LEFT OUTER JOIN u ON t.a = u.a", ["SELECT a", "FROM t", "LEFT OUTER JOIN u ON t.a = u.a"]),
        ("SELECT EXTRACT(YEAR FROM d) FROM t", ["SELECT EXTRACT(YEAR FROM d)", "FROM t"]),
        ("SELECT 'a FROM b'", ["SELECT 'a FROM b'"]),
        ("SELECT 'never closed FROM t", ["SELECT 'never closed FROM t"]),
    ],
)
def test_lines_break_where_a_reader_expects_it(sql: str, lines: list[str]) -> None:
    assert laid_out(sql).splitlines() == lines


def test_long_lists_are_broken_at_commas() -> None:
    laid = laid_out(f"SELECT a FROM t WHERE b IN ({', '.join(['%s'] * 200)})", *range(200))
    assert max(map(len, laid.splitlines())) < 80


def test_keywords_strings_and_values_are_told_apart() -> None:
    assert formatted(Operation("sql", "SELECT date FROM t WHERE a = %s", (5,), "postgresql")) == [
        Bit("SELECT", "keyword"),
        Bit(" date\n"),
        Bit("FROM", "keyword"),
        Bit(" t\n"),
        Bit("WHERE", "keyword"),
        Bit(" a = "),
        Bit("5", "value"),
    ]
    assert highlighted("SELECT 'x'", "sqlite") == [Bit("SELECT", "keyword"), Bit(" "), Bit("'x'", "string")]


WORDS = st.sampled_from(
    [
        "SELECT",
        "FROM",
        "WHERE",
        "(",
        ")",
        ",",
        "AND",
        "'a'",
        '"b"',
        "%s",
        "--",
        "/*",
        "*/",
        "\n",
        "x",
        "1",
        "$$",
        ";",
        "'",
        "ON",
        "JOIN",
        "FOR",
        "UPDATE",
        "é",
        "\x00",
        "\\",
    ]
)


@settings(deadline=None)
@given(st.lists(WORDS, max_size=30).map(" ".join), st.sampled_from(["postgresql", "mysql", "sqlite"]))
def test_no_text_of_a_statement_is_changed_or_lost(sql: str, vendor: str) -> None:
    laid = "".join(bit.text for bit in formatted(Operation("sql", sql, None, vendor)))
    assert laid.split() == sql.split()
    assert "".join(bit.text for bit in highlighted(sql, vendor)) == sql
