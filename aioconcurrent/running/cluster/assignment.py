"""What a process on another machine is told before its first run, and what it answers.

It has to have the same project: the same versions of what it runs on and has loaded, and the same files.  A file
of the project is one that a module of this process was loaded from, outside the standard library and the folders
of installed packages.  On another machine it is at the same path, or, if that has no such file, at the same place
in the folder in which the worker was started.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import platform
import sqlite3
import sys
import sysconfig
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ...databases.copies import Copy
    from ...databases.dumps import Source
    from ...engine.surroundings import Surroundings
    from ...engine.world import Context
    from ..options import Options
    from .addresses import Address


_DRIVERS = ("psycopg", "psycopg2", "MySQLdb", "pymysql")
_INSTALLED = ("site-packages", "dist-packages")
_STANDARD = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))
_ZIPPED = f"{_STANDARD[0].rpartition('/')[0]}/python{sys.version_info[0]}{sys.version_info[1]}.zip"
_MISSING = "(not installed)"
_TOLD = 3  # differences
# What says something of the machine: a process keeps those of its own.
_OWN = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "OLDPWD", "HOSTNAME", "TMPDIR", "TMP", "TEMP"),
        *("VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "SSH_AUTH_SOCK"),
    }
)
# By what libraries find a server that the settings do not name: a process keeps those that it has.
_OF_SERVERS = frozenset(
    {
        *("PGHOST", "PGHOSTADDR", "PGPORT", "PGSERVICE", "PGSERVICEFILE", "PGPASSFILE"),
        *("MYSQL_HOST", "MYSQL_TCP_PORT", "MYSQL_UNIX_PORT"),
    }
)


@dataclass(frozen=True)
class Fingerprint:
    """What has to be the same.

    Attributes:
        versions: By what has them.
        packages: Versions of what else was loaded, which another machine need not have.
        files: Digests of the project's own files, by their paths.
        folder: In which the process was started.
    """

    versions: Mapping[str, str]
    packages: Mapping[str, str]
    files: Mapping[str, str]
    folder: str

    @classmethod
    def capture(cls) -> Fingerprint:
        """Take note of this process."""
        drivers = [name for name in _DRIVERS if getattr(sys.modules.get(name), "__name__", None) == name]
        versions = {name: _version(name) for name in ("Python", "Django", "aioconcurrent", "SQLite", *drivers)}
        packages = {name: _version(name) for name in sorted(_loaded_packages())}
        return cls(versions, packages, {path: _digest(path) for path in sorted(_own_files())}, os.getcwd())

    def differences(self, folder: str) -> str:
        """What this process has otherwise, for people; empty if nothing.

        Args:
            folder: In which this process was started.
        """
        told = [
            f"it has {name} {mine}, and the test {theirs}"
            for name, theirs in {**self.packages, **self.versions}.items()
            if (mine := _version(name)) != theirs and (name in self.versions or mine != _MISSING)
        ]
        for path, theirs in self.files.items():
            found = relocated(path, self.folder, folder)
            if (mine := _digest(found)) != theirs:
                what = f"{found} is not what {path} is for the test" if mine else f"it has no {path}, as the test has"
                told.append(what)
        rest = f", and {len(told) - _TOLD} more differences" if len(told) > _TOLD else ""
        return "; ".join(told[:_TOLD]) + rest

    def settled(self, surroundings: Surroundings, folder: str) -> Surroundings:
        """The surroundings of the test as they are to be in this process, on another machine.

        Args:
            folder: In which this process was started.
        """
        environment = {name: value for name, value in surroundings.environment.items() if name not in _OWN}
        environment |= {name: value for name, value in os.environ.items() if name in _OWN | _OF_SERVERS}
        paths = [relocated(path, self.folder, folder) for path in surroundings.path if not _is_installed(path)]
        directory = relocated(surroundings.directory, self.folder, folder)
        return replace(
            surroundings,
            directory=directory if os.path.isdir(directory) else folder,
            environment=environment,
            path=list(dict.fromkeys([*paths, *sys.path])),
            files={name: relocated(file, self.folder, folder) for name, file in surroundings.files.items()},
            terminal=None,
        )


def relocated(path: str, there: str, here: str) -> str:
    """Where a path of another machine is on this one."""
    inside = Path(path)
    if inside.exists() or not inside.is_relative_to(there):
        return path
    return str(Path(here) / inside.relative_to(there))


def _version(name: str) -> str:
    if name == "Python":
        return platform.python_version()
    if name == "SQLite":
        return sqlite3.sqlite_version
    if name in _DRIVERS:
        with suppress(ImportError):
            driver = importlib.import_module(name)
            return str(getattr(driver, "__version__", None) or driver.version_info)  # old MySQLdb has only this
        return _MISSING
    try:
        return version(name)
    except PackageNotFoundError:  # a checkout, whose files are compared
        return _MISSING


def _loaded_packages() -> set[str]:
    """Those of whose modules this process has loaded any, but for those that a machine has to have."""
    roots = {name.partition(".")[0] for name in list(sys.modules)} - {"aioconcurrent", "django", *_DRIVERS}
    return {name for root, names in packages_distributions().items() if root in roots for name in names}


def _own_files() -> Iterator[str]:
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file.endswith(".py") and not _is_installed(file) and os.path.isfile(file):
            yield os.path.abspath(file)


def _is_installed(path: str) -> bool:
    place = Path(path)
    return (
        path == _ZIPPED or any(part in _INSTALLED for part in place.parts) or any(map(place.is_relative_to, _STANDARD))
    )


def _digest(path: str) -> str:
    with suppress(OSError):
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return ""


@dataclass(frozen=True)
class Assignment:
    """What the process has to know before the first run.

    Attributes:
        context: As for wrappers.
        key: Of the project.
        tasks: One pickled `Task` per call.
        files: What is in the copies of SQLite's databases, by their paths on the machine of the test.
        sources: The copies on servers, by the names of their originals.
        addresses: Where the settings of the project say that the databases are for the test, by alias.
        names: Of databases, by their spellings.
        aliases: One of each database, by its name.
        opened: Databases that are open from the beginning.
    """

    fingerprint: Fingerprint
    context: Context
    key: object
    tasks: Sequence[bytes]
    options: Options
    copy: Copy
    files: Mapping[str, bytes]
    sources: Mapping[str, Source]
    addresses: Mapping[str, Address]
    names: Mapping[str, str]
    aliases: Mapping[str, str]
    opened: Sequence[str]


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether runs can be made.

    Attributes:
        problem: Why not; empty if they can.
        is_refused: Whether it is the project, or where its databases are, that is not as it is for the test.
        wanted: The database of which the next piece of a dump is needed first, by the name of its original.
    """

    problem: str = ""
    is_refused: bool = False
    wanted: str = ""
