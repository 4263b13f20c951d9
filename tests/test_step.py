import subprocess
import sys

import pytest

import aioconcurrent
from aioconcurrent import step, sync


def test_it_does_nothing_outside_of_exploring() -> None:
    step("anywhere")
    assert sync.step is aioconcurrent.step


def test_a_name_that_is_no_string_is_refused_even_there() -> None:
    with pytest.raises(TypeError, match="takes the name of a point in the code, a string, not 7"):
        step(7)  # type: ignore[arg-type]


def test_importing_it_imports_nothing_that_runs_processes() -> None:
    script = "import sys; from aioconcurrent import step; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {"anyio", "cloudpickle", "tblib", "rich", "sqlglot", "trio", "django.db"}
    assert heavy & set(ran.stdout.split()) == set()
