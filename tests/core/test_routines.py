"""How many statements of a routine's body see a state of their own."""

import pytest

from aioconcurrent.databases.state.tables import MANY, moments

ROUTINES: dict[str, list[str | None]] = {
    "look": ["SELECT 1 FROM a"],
    "count_up": ["BEGIN NEW.n := NEW.n + 1; RETURN NEW; END"],
    "again": ["BEGIN RETURN again(); END"],
    "secret": [None],
    "overloaded": ["RETURN 1", "SELECT 1; SELECT 2"],
}


@pytest.mark.parametrize(
    ("body", "number"),
    [
        ("BEGIN NEW.updated_at = now(); RETURN NEW; END", 0),
        ("BEGIN INSERT INTO log (a, b) VALUES (NEW.a, 'update; select'); RETURN NULL; END", 0),
        ("BEGIN IF TG_OP = 'UPDATE' THEN NEW.x := 1; END IF; RETURN NEW; END", 0),
        ("-- select; select\n/* update; update */ RETURN 1", 0),
        ("BEGIN SELECT n INTO m FROM a WHERE b IN (SELECT c FROM d) FOR UPDATE; RETURN m; END", 1),
        ("BEGIN INSERT INTO a SELECT * FROM b; RETURN NULL; END", 1),
        ("BEGIN INSERT INTO a VALUES (1) ON CONFLICT (b) DO UPDATE SET c = 1; RETURN NULL; END", 1),
        ("BEGIN x := look(); y := count_up(); END", 1),
        ("BEGIN SELECT 1; PERFORM 2; END", MANY),
        ("BEGIN x := look() + look(); END", MANY),
        ("BEGIN FOR r IN SELECT * FROM a LOOP NEW.n := r.n; END LOOP; END", MANY),
        ("BEGIN FOR i IN 1..3 LOOP NEW.n := i; END LOOP; END", 0),
        ("BEGIN RETURN again(); END", MANY),
        ("BEGIN RETURN secret(); END", MANY),
        ("BEGIN RETURN overloaded(1); END", MANY),
        (None, MANY),
    ],
)
def test_statements_that_see_a_state_of_their_own_are_counted(body: str | None, number: int) -> None:
    assert moments(body, ROUTINES) == number
