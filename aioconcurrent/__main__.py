"""The command line: `aioconcurrent demo` and `aioconcurrent hunt`, or `python -m aioconcurrent ...`."""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version

from .demo.databases import DemoError, server_settings


def main() -> int:
    """Run what the command line asks for and return the exit status."""
    if sys.argv[1:2] == ["hunt"]:  # what follows is for the program that it runs
        from .hunting.command import hunt

        return hunt(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="aioconcurrent", description="Find race conditions of Django code.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('aioconcurrent')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="race and explore the last ticket of a small shop",
        description="Sell the last ticket of a small shop to several buyers at the same moment, first with a function "
        "that sells it more than once, then with one that does not; and then explore both: run two buyers in every "
        "order of their statements that can matter.",
    )
    demo.add_argument(
        "--database",
        metavar="URL",
        type=_server,
        help="a server to run on, postgres://user:password@host:port/ or mysql://user:password@host:port/, in a "
        "database made and dropped by the demo (default: SQLite in a temporary folder)",
    )
    demo.add_argument("--calls", metavar="N", type=_count, default=5, help="how many buyers (default: 5)")
    commands.add_parser(
        "hunt", help="find races with the tests that a project has: hunt -m pytest, or hunt manage.py test"
    )
    given = parser.parse_args()

    from .demo.show import run  # Django and rich, which --help and a bad URL can do without

    try:
        return run(given.database, given.calls)
    except DemoError as error:
        demo.exit(1, f"{demo.prog}: error: {error}\n")
    except KeyboardInterrupt:
        return 130  # as a shell has it: 128 + SIGINT


def _server(url: str) -> dict[str, object]:
    try:
        return server_settings(url)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"a race needs at least 2 calls, not {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
