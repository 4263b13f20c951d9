"""What the next exploration hears of one that was killed."""

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from aioconcurrent import RowsLeftWarning
from aioconcurrent.databases.leftovers import left_changed, noted

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such notes")

EXPLORE = """
import sys
from aioconcurrent.databases.leftovers import left_changed, noted
with noted("shop@host", "default", "birth") as note:
    note.add([{tables}])
    print("noted", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


@pytest.fixture
def exploring(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A process that explores, and has changed these tables."""
    program = EXPLORE.format(tables=getattr(request, "param", "'shop_ticket', 'shop_show'"))
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "noted\n"
        yield process
        process.kill()


def heard(identity: str = "shop@host", birth: str = "birth") -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with noted(identity, "default", birth):
            pass
    assert all(each.category is RowsLeftWarning for each in caught)
    return [str(each.message) for each in caught]


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def test_one_that_was_killed_is_told_of_once(exploring: subprocess.Popen[str]) -> None:
    kill(exploring)
    [text] = heard()
    assert "database 'default'" in text
    assert "was killed. Its changes in shop_show, shop_ticket may still be there" in text
    assert heard() == []


def test_one_that_goes_on_is_not_told_of(exploring: subprocess.Popen[str]) -> None:
    assert heard() == []
    kill(exploring)
    assert len(heard()) == 1


def test_one_that_came_to_its_end_is_not_told_of(exploring: subprocess.Popen[str]) -> None:
    exploring.communicate("")
    assert heard() == []


def test_nor_is_one_of_another_database(exploring: subprocess.Popen[str]) -> None:
    kill(exploring)
    assert heard("other@host") == []


def test_nor_is_one_of_a_database_that_was_made_anew(exploring: subprocess.Popen[str]) -> None:
    kill(exploring)
    assert heard(birth="later") == []


@pytest.mark.parametrize("exploring", [""], indirect=True)
def test_nor_is_one_that_had_changed_nothing(exploring: subprocess.Popen[str]) -> None:
    kill(exploring)
    assert heard() == []


def test_runs_of_tests_in_the_same_folder_hear_of_it_before_they_explore(
    exploring: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert left_changed() == []
    kill(exploring)
    [text] = left_changed()
    assert left_changed() == [text]  # until an exploration has told it
    assert "shop_show, shop_ticket may still be there" in text
    here = Path.cwd()
    monkeypatch.chdir(tmp_path)
    assert left_changed() == []
    monkeypatch.chdir(here)
    assert heard() == [text]
    assert left_changed() == []


@pytest.mark.parametrize("options", [("--reuse-db",), ("--reuse-db", "--create-db"), ()])
def test_pytest_says_so_at_its_beginning_where_it_keeps_the_database(
    exploring: subprocess.Popen[str], options: tuple[str, ...], tmp_path: Path
) -> None:
    kill(exploring)
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): pass")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(tmp_path), *options]
    output = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ).stdout
    assert ("was killed. Its changes in" in output) is (options == ("--reuse-db",))
