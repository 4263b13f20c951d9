"""Where a machine's own settings say that the databases are.

The settings module of the project is read in an interpreter of its own, with the environment
that the machine has by itself.  It says something else there than on the machine of the
test where it asks for what is of the machine: an environment variable, a file, the name of
the host.  What a test has changed in its settings since they were read makes no difference.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from ..._text import text_of
from ...base import pickling
from ...engine.launch import with_path
from ...engine.surroundings import follow, known_files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Address = Mapping[str, Any]

_KEYS = ("HOST", "PORT", "USER", "PASSWORD")
_OPTIONS = (
    *("service", "host", "hostaddr", "port", "passfile", "sslmode", "sslrootcert", "sslcert", "sslkey"),
    *("unix_socket", "read_default_file", "read_default_group", "ssl", "ssl_mode"),
)
_PATIENCE = 60  # seconds
_PROGRAM = "from aioconcurrent.running.cluster.addresses import main; main()"


class UnreadError(Exception):
    """The settings cannot be read; the argument says why."""


def addresses(module: str, files: Mapping[str, str], arguments: Sequence[str]) -> dict[str, Address]:
    """Where the settings of this machine say that each database is, by alias.

    Args:
        module: Of the settings.
        files: Of modules that are not found otherwise, by name.
        arguments: Of the command line: some settings look at them.

    Raises:
        UnreadError: They cannot be read.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", with_path(sys.path, _PROGRAM)],
            input=pickling.dumps((module, dict(files), list(arguments))),
            capture_output=True,
            check=False,
            timeout=_PATIENCE,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UnreadError(text_of(error)) from error
    if done.returncode:
        raise UnreadError((done.stderr.decode(errors="replace").strip().splitlines() or ["it ended"])[-1])
    found: dict[str, Address] = pickling.loads(done.stdout)
    return found


def addresses_here(module: str | None) -> dict[str, Address]:
    """The same for this process; nothing where it has no settings module that can be read."""
    try:
        return addresses(module, known_files(), sys.argv) if module else {}
    except UnreadError:
        return {}


def main() -> None:
    """Read the settings that stdin names, and write what they say to stdout."""
    module, files, arguments = pickling.loads(sys.stdin.buffer.read())
    with os.fdopen(os.dup(1), "wb") as answer:
        os.dup2(2, 1)  # settings may print
        sys.argv[:] = arguments
        follow(files)
        databases = importlib.import_module(module).DATABASES
        answer.write(pickling.dumps({alias: _address(settings) for alias, settings in databases.items()}))
    sys.stdout.flush()
    os._exit(0)  # whatever threads the settings have started


def _address(settings: Mapping[str, Any]) -> Address:
    options = settings.get("OPTIONS") or {}
    texts = {name: str(settings.get(name) or "") for name in _KEYS}
    return {**texts, "OPTIONS": {name: options[name] for name in _OPTIONS if name in options}}


def differences(own: Address, theirs: Address, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What is to be changed in settings for a machine whose own settings say something else than those of the test.

    Args:
        settings: Of the database, as the test has them.
    """
    found = {name: own[name] for name in _KEYS if own[name] != theirs[name]}
    if own["OPTIONS"] != theirs["OPTIONS"]:
        kept = {name: value for name, value in (settings.get("OPTIONS") or {}).items() if name not in _OPTIONS}
        found["OPTIONS"] = {**kept, **own["OPTIONS"]}
    return found
