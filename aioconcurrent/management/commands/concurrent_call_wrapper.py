"""`manage.py concurrent_call_wrapper package.module:function` runs one call by hand, in this process.

It is for looking at a call with a debugger, a profiler or a shell script; races
do not use it.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import traceback
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from django.core.management.base import BaseCommand, CommandError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import Error, connections
from django.test import utils

from aioconcurrent.base import pickling
from aioconcurrent.base.calls import check_target
from aioconcurrent.databases.handoff import is_in_memory
from aioconcurrent.engine.wrapper import finish, import_target

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper


class _Serializer(NamedTuple):
    dump: Callable[[Any], str]
    load: Callable[[str], Any]


_SERIALIZERS = {
    "json": _Serializer(lambda value: json.dumps(value, cls=DjangoJSONEncoder), json.loads),
    "pickle": _Serializer(
        lambda value: base64.b64encode(pickling.dumps(value, "It")).decode("ascii"),
        lambda text: pickling.loads(base64.b64decode(text, validate=True)),
    ),
}


class Command(BaseCommand):
    help = (
        "Call one function on the test databases, which must exist, and print what it returns. "
        "What the function itself prints goes to stderr."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("target", metavar="package.module:function", help="plain or a coroutine function")
        parser.add_argument("-k", "--kwargs", metavar="TEXT", help="its keyword arguments, such as '{\"a\": 1}'")
        parser.add_argument(
            "-s",
            "--serializer",
            choices=list(_SERIALIZERS),
            default="json",
            help="what --kwargs and the printed result are: JSON (the default), or base64 of a pickle",
        )
        parser.add_argument(
            "-t", "--no-test-db", action="store_true", help="use the databases of the settings as they are"
        )

    def handle(
        self,
        *,
        target: str,
        kwargs: str | None,
        serializer: str,
        no_test_db: bool,
        stderr: TextIO | None = None,
        **_: Any,
    ) -> str:
        try:
            check_target(target, "The target")
        except ValueError as error:
            raise CommandError(str(error)) from None
        dump, load = _SERIALIZERS[serializer]
        with ExitStack() as stack:
            stack.enter_context(_printing_to(stderr or sys.stderr))
            if not hasattr(utils._TestState, "saved_data"):  # else a test run has set up what is to be used
                utils.setup_test_environment(debug=False)
                stack.callback(utils.teardown_test_environment)
                if not no_test_db:
                    stack.enter_context(_test_databases())
            with self._reported(f"--kwargs is no {serializer} of keyword arguments"):
                arguments = {**load(kwargs)} if kwargs else {}
            with self._reported(f"{target} cannot be imported"):
                function = import_target(target)
            with self._reported(f"{target} failed"):
                result = finish(function(**arguments), "asyncio")
            with self._reported(f"What {target} returned cannot be printed as {serializer}"):
                return dump(result)

    @contextmanager
    def _reported(self, failure: str) -> Iterator[None]:
        try:
            yield
        except (Exception, SystemExit) as error:
            self.stderr.write("".join(traceback.format_exception(error)))
            raise CommandError(f"{failure}: {type(error).__qualname__}: {error}") from error


@contextmanager
def _printing_to(stream: TextIO) -> Iterator[None]:
    """Keep stdout clean, whatever is printed with: `print`, a log handler, a program that is started."""
    stdout, kept = sys.stdout, os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(stream):
            yield
    finally:
        stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


@contextmanager
def _test_databases() -> Iterator[None]:
    """Point every alias at its test database, as Django's own set-up of tests does, but make none.

    Raises:
        CommandError: One does not exist, or is in the memory of another process.
    """
    before = {alias: connections[alias].settings_dict["NAME"] for alias in connections}
    try:
        for alias, name in _test_names().items():
            connection = connections[alias]
            connection.close()
            connection.settings_dict["NAME"] = name
            _check(alias)
        yield
    finally:
        connections.close_all()
        for alias, name in before.items():
            connections[alias].settings_dict["NAME"] = name


def _test_names() -> dict[str, str]:
    unique, mirrors = utils.get_unique_databases_and_mirrors()
    names: dict[str, str] = {}
    for _, aliases in unique.values():
        creation: Any = connections[aliases[0]].creation
        names.update(dict.fromkeys(aliases, creation._get_test_db_name()))
    mirrored: dict[str, Any] = mirrors
    return {**names, **{alias: names[of] for alias, of in mirrored.items()}}


def _check(alias: str) -> None:
    settings = connections[alias].settings_dict
    if is_in_memory(settings):
        raise CommandError(
            f"The test database of {alias!r} is in memory, which cannot be shared with a process started by hand. "
            f"Give it a file, DATABASES[{alias!r}]['TEST']['NAME'], or use the databases of the settings: --no-test-db."
        )
    if problem := _problem(connections[alias]):
        raise CommandError(
            f"The test database of {alias!r}, {str(settings['NAME'])!r}, cannot be used: {problem}. It is there while "
            "tests run, and after `manage.py test --keepdb`; --no-test-db uses the databases of the settings instead."
        )


def _problem(connection: BaseDatabaseWrapper) -> str:
    if connection.vendor == "sqlite" and not Path(connection.settings_dict["NAME"]).exists():
        return "there is no such file"  # and connecting would make it
    try:
        connection.ensure_connection()
    except Error as error:
        return str(error).strip()
    return ""
