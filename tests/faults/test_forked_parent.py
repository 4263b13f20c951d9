"""Races inside a forked copy of a process that has raced: with a template and databases of its own."""

from pathlib import Path

import pytest

from tests.faults.processes import left_of
from tests.faults.projects import Project

PROGRAM = """
import json, os, sys, warnings
from aioconcurrent.sync import call_concurrently
from tests.faults import calls

warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside threads

def race(name):
    outcomes = call_concurrently(2, calls.get_pids)
    outcomes.raise_errors()
    with open(name, "w") as file:
        json.dump(list(outcomes), file)

race("before")
{fork}
race("after")
names = ("before", "child", "after")
print(json.dumps([[template for _, template in json.load(open(name))] for name in names]))
"""
FORKS = {
    "os.fork": """
pid = os.fork()
if pid == 0:
    race("child")
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
""",
    "multiprocessing": """
import multiprocessing
child = multiprocessing.get_context("fork").Process(target=race, args=["child"])
child.start()
child.join()
assert child.exitcode == 0
""",
}


@pytest.mark.parametrize("fork", FORKS)
def test_a_forked_child_has_a_template_of_its_own_and_leaves_its_parents_alone(fork: str, tmp_path: Path) -> None:
    before, child, after = Project(tmp_path).run(PROGRAM.format(fork=FORKS[fork]))
    assert len(set(before)) == len(set(child)) == 1
    assert before == after
    assert child != before
    assert not left_of({*before, *child})


TESTS = """
import os
from django.db import connection
from django.test import TransactionTestCase
from aioconcurrent.sync import call_concurrently
from site_app.models import Visit
from site_app.queries import add_visit

class VisitTests(TransactionTestCase):
    def check(self):
        Visit.objects.create()
        outcomes = call_concurrently(3, add_visit)
        outcomes.raise_errors()
        assert Visit.objects.count() == 4
        assert len({template for template, _ in outcomes}) == 1
        name = str(connection.settings_dict["NAME"])
        for template, used in outcomes:
            with open("signed-in/races", "a") as file:
                file.write(f"{os.getpid()} {template} {name} {used}\\n")
"""
MODELS = "from django.db import models\nclass Visit(models.Model):\n    pass\n"
MANAGE = """
from django.core.management import execute_from_command_line

if __name__ == "__main__":
    execute_from_command_line()
"""
QUERIES = """
import os
from django.db import connection
from site_app.models import Visit

def add_visit():
    Visit.objects.create()
    return os.getppid(), str(connection.settings_dict["NAME"])
"""
RUNNERS = {
    "manage.py test --parallel": ["manage.py", "test", "--parallel", "2", "--verbosity", "0"],
    "pytest --numprocesses": ["-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "site_app"],
}


@pytest.mark.parametrize("runner", RUNNERS)
def test_each_process_of_a_parallel_test_run_races_on_its_own_database(runner: str, tmp_path: Path) -> None:
    project = Project(tmp_path, settings="DATABASES['default']['TEST'] = {'NAME': str(FOLDER / 'test.sqlite3')}")
    for name in ("first", "second"):
        project.write(f"site_app/test_{name}.py", TESTS + f"    test_{name} = check\n")
    project.write("manage.py", MANAGE)
    project.write("site_app/models.py", MODELS)
    project.write("site_app/queries.py", QUERIES)
    assert project.run_command(*RUNNERS[runner]) == 0, project.printed
    races = [line.split() for line in (tmp_path / "signed-in" / "races").read_text().splitlines()]
    assert len(races) == 6
    assert all(name == used for _, _, name, used in races)
    assert len({tester for tester, *_ in races}) == len({name for _, _, name, _ in races}) == 2
    assert len({template for _, template, *_ in races}) == 2
