"""How a test runs a program of its own: a project that is not the tests' one, or none at all."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments in `folder`, without the Django settings of the tests."""
    inherited = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=400,  # for a hang: a thousand races on a busy machine take minutes
        check=False,
    )


def output_of(script: str, folder: Path, **variables: str) -> str:
    """Run the text of a script, which must succeed and print nothing on stderr."""
    (folder / "script.py").write_text(script)
    ran = run("script.py", folder=folder, **variables)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout + ran.stderr
    return ran.stdout
