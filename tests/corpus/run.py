"""Explore one case of the corpus in a process of its own, and print what came of it.

    python tests/corpus/run.py tests/corpus/cases/session_upsert.py --database postgresql

A case is a module with REQUIREMENTS, SETTINGS, EXPECTED and OBSERVED as literals, and with `setup`,
`calls` and `check`; CRASH_IS_BUG and ERRORS_ALLOWED say what its exceptions mean.  Django is set up
here the way a script would do it, without pytest and without a settings module, and
the case is loaded from its file: no new process can import it by a name.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from tests import servers  # noqa: E402 - found through the line above

if TYPE_CHECKING:
    from types import ModuleType

    from aioconcurrent import Outcomes
    from aioconcurrent.results.exploration import Exploration

NAME = f"test_corpus_{os.getpid()}"
APPS = ["django.contrib.contenttypes", "django.contrib.auth", "corpus_app"]


def literals(path: Path) -> dict[str, Any]:
    """What a case says about itself, read without importing it."""
    found = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:  # no literal: one of its callables
                continue
    return found


def connection_settings(database: str) -> dict[str, Any]:
    if database == "sqlite":
        name = str(Path(tempfile.gettempdir(), f"{NAME}.sqlite3"))
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": name, "TEST": {"NAME": name, "MIGRATE": False}}
    if database == "sqlite-memory":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": "unused", "TEST": {"MIGRATE": False}}
    if database == "mysql":
        import pymysql

        pymysql.install_as_MySQLdb()
    url = servers.find_postgresql() if database == "postgresql" else servers.find_mysql()
    settings = {**servers.connection_settings(url), "ENGINE": f"django.db.backends.{database}"}
    return settings | {"TEST": {"NAME": NAME, "MIGRATE": False}}


def set_up(case: dict[str, Any], database: str) -> None:
    """Configure Django with the settings of a case."""
    import django
    from django.conf import settings

    asked = dict(case.get("SETTINGS", {}))
    apps = [*APPS, *(app for app in asked.pop("INSTALLED_APPS", []) if app not in APPS)]
    settings.configure(
        DATABASES={"default": connection_settings(database)},
        INSTALLED_APPS=apps,
        **{"SECRET_KEY": "a key that is long enough, and for tests alone", "USE_TZ": True, **asked},
    )
    django.setup()


def load(path: Path, by: str) -> ModuleType:
    """Import a case under its name in the package `cases`, or from its file."""
    if by == "name":
        return importlib.import_module(f"cases.{path.stem}")
    spec = importlib.util.spec_from_file_location(f"case_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    if by == "registered file":
        sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def refusals(module: ModuleType) -> tuple[type[BaseException], ...]:
    """The exceptions that ERRORS_ALLOWED names, wherever the packages have them."""
    names = getattr(module, "ERRORS_ALLOWED", ())
    found = []
    for name in names:
        places = (
            vars(other).get(name) for other in [builtins, *list(sys.modules.values())] if hasattr(other, "__dict__")
        )
        found.append(next(kind for kind in places if isinstance(kind, type) and issubclass(kind, BaseException)))
    return tuple(found)


def told(found: Exploration) -> dict[str, Any]:
    counterexample = found.counterexample
    return {
        "verdict": found.verdict,
        "exhaustive": found.exhaustive,
        "reason": found.reason,
        "schedules": found.schedules_run,
        "anomaly": counterexample and counterexample.anomaly,
        "text": str(found),
    }


def explored(module: ModuleType, start_method: str) -> dict[str, Any]:
    """What exploring says of a case, without its rule and with it."""
    from django.db import connection

    from aioconcurrent import options
    from aioconcurrent.sync import explore

    connection.ensure_connection()
    module.setup()
    allowed, results = refusals(module), {}

    def rule(outcomes: Outcomes) -> bool:
        crashed = any(not isinstance(each.error, allowed) for each in outcomes.errors)
        return module.check() and not (crashed and getattr(module, "CRASH_IS_BUG", False))

    with options(start_method=start_method):
        results["alone"] = told(explore(*module.calls, refusals=allowed))
        if hasattr(module, "check"):
            results["check"] = told(explore(*module.calls, check=rule, refusals=allowed))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", type=Path)
    parser.add_argument("--database", default="sqlite")
    parser.add_argument("--load", default="registered file", choices=["file", "registered file", "name"])
    parser.add_argument("--start-method", default="fork")
    arguments = parser.parse_args()
    set_up(literals(arguments.case), arguments.database)
    module = load(arguments.case, arguments.load)
    from django.db import connection

    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        print(json.dumps(explored(module, arguments.start_method)))
    finally:
        connection.creation.destroy_test_db("unused", verbosity=0)


if __name__ == "__main__":
    main()
