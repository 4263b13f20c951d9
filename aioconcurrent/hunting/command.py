"""`aioconcurrent hunt`: runs a program as `python` would, and hunts when its tests have run."""

from __future__ import annotations

import argparse
import os
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .._text import counted
from .options import HuntOptions, add_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence

_USAGE = "%(prog)s [options] (-m MODULE | PROGRAM) [argument ...]"
_EXAMPLES = """\
examples:
  aioconcurrent hunt -m pytest tests/
  aioconcurrent hunt --seconds 60 manage.py test shop
  aioconcurrent hunt --story 2
  aioconcurrent hunt --write-test 2
"""


def hunt(arguments: Sequence[str]) -> int:
    """Run what follows the word "hunt", and return the exit status."""
    before_module, module = _split(arguments)
    parser = argparse.ArgumentParser(
        prog="aioconcurrent hunt",
        usage=_USAGE,
        description="Run tests, then explore the requests and calls that they made for races.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    parser.add_argument("--story", type=int, metavar="N", help="show race N of the last hunt in full, and stop")
    parser.add_argument("--write-test", type=int, metavar="N", help="write a test of race N of the last hunt, and stop")
    is_about_last = any(each.partition("=")[0] in ("--story", "--write-test") for each in before_module)
    if not module:
        parser.add_argument("program", nargs="*" if is_about_last else argparse.PARSER)
    given = parser.parse_args(before_module)
    options = HuntOptions.of(given)
    if is_about_last:
        return _tell_last(options, given.story, given.write_test)
    if module[:1] == ["pytest"]:
        return _become_pytest(before_module, module[1:])
    from .runner import install

    install(options)
    sys.argv[:] = module or given.program
    if module:
        sys.path.insert(0, os.getcwd())
        runpy.run_module(module[0], run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
        runpy.run_path(sys.argv[0], run_name="__main__")
    return 0


def _become_pytest(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """Let pytest begin as without us: it warns of plugins that were there before it."""
    options = ["--aioconcurrent-hunt", f"--aioconcurrent-hunt-args={shlex.join(ours)}"]
    command = [sys.executable, "-m", "pytest", *options, *theirs]
    if os.name != "nt":  # where exec would not take the place of this process
        os.execv(sys.executable, command)
    return subprocess.run(command, check=False).returncode


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """What is ours, and the module with its arguments, if there is one."""
    if "-m" not in arguments:
        return list(arguments), []
    place = arguments.index("-m")
    return list(arguments[:place]), list(arguments[place + 1 :])


def _tell_last(options: HuntOptions, story: int | None, written: int | None) -> int:
    from .report import read_findings

    found = read_findings(options)
    for number in filter(None, (story, written)):
        if not 1 <= number <= len(found):
            print(f"The last hunt in {options.folder} has found {counted(len(found), 'race')}.", file=sys.stderr)
            return 2
    if story:
        print(found[story - 1]["story"])
    if written:
        path = Path(f"test_race_{written}.py")
        path.write_text(found[written - 1]["ready"], "utf-8")
        print(path)
    return 0
