"""What the demo does and prints: rounds of buyers, then every order of two, by the naive `buy` and the safe one."""

from __future__ import annotations

import inspect
import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console
from rich.text import Text

from ..exceptions import WrappedError
from ..running.options import Options
from ..sync import Exploration, Outcomes, call_concurrently, explore, options
from .databases import own_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ..results.outcomes import CallReport

_ROUNDS = 10  # how often luck may save the naive version
_SHOWN = 20  # calls of a round
_LANE = 30  # characters
_ASCII = str.maketrans("│─┼", "|-+")


class Round(NamedTuple):
    """One ticket, and what became of it."""

    outcomes: Outcomes
    sold: int
    seats_left: int

    @property
    def is_right(self) -> bool:
        return (self.sold, self.seats_left) == (1, 0)


def run(server: Mapping[str, Any] | None, calls: int) -> int:
    """Show the race on `server`, or on SQLite; return 0 if everything was seen that should be.

    Raises:
        DemoError: There is no such server, or no driver for it.
    """
    console = Console(highlight=False)
    with own_database(server):
        from .shop import buy, buy_safely

        console.print(f"[bold]One ticket is left, and {calls} processes buy at the same moment.[/]")
        console.print(_describe_database(), soft_wrap=True)
        naive = _play_until_oversold(console, buy, calls)
        safe = _play(buy_safely, calls)
        _show(console, "Safe: the database compares and takes the seat in one statement", buy_safely, safe)
        if errors := naive.outcomes.errors + safe.outcomes.errors:
            return _tell_errors(console, errors)
        console.print("\n[bold]Two buyers again, in every order of their statements that can matter.[/]")
        raced, is_proven = _explore(buy), _explore(buy_safely)
        _show_story(console, "Naive", buy, raced)
        _show_story(console, "Safe", buy_safely, is_proven)
    return _conclude(console, (naive, safe), (raced, is_proven))


def _play_until_oversold(console: Console, buy: Callable[..., bool], calls: int) -> Round:
    for number in range(1, _ROUNDS + 1):
        played = _play(buy, calls)
        if played.sold > 1 or played.outcomes.errors or number == _ROUNDS:
            break
        console.print(f"\nRound {number}: sold once, by luck. Once more.")
    _show(console, "Naive: look for a seat, sell it, write down how many are left", buy, played)
    return played


def _play(buy: Callable[..., bool], calls: int) -> Round:
    from .models import Show, Ticket

    show = Show.objects.create(title="The Mousetrap", seats_left=1)
    outcomes = call_concurrently(calls, buy, show_id=show.pk)
    show.refresh_from_db()
    return Round(outcomes, Ticket.objects.filter(show=show).count(), show.seats_left)


def _explore(buy: Callable[..., bool]) -> Exploration:
    from .models import Show

    show = Show.objects.create(title="The Mousetrap", seats_left=1)
    call = (buy, {"show_id": show.pk})
    with options(start_method=Options().start_method):  # calls of "inline" cannot be stepped
        return explore(call, call)


def _show_story(console: Console, title: str, function: Callable[..., bool], explored: Exploration) -> None:
    colour = "green" if explored.verdict == "no race" else "red"
    console.print(f"\n[bold]{title}:[/] {function.__name__}() [bold {colour}]{explored.verdict}[/]", end="")
    runs = f", {explored.schedules_run} orders run"
    found = explored.counterexample
    if found is None:
        console.print(f"{runs}: {explored.reason}", markup=False, soft_wrap=True)
        return
    console.print(f"{runs}\n\n{found.anomaly}: {found.explanation}\n", markup=False, soft_wrap=True)
    drawn = found.lanes()
    console.print(drawn.translate(_ASCII) if console.options.ascii_only else drawn, markup=False, soft_wrap=True)
    console.print(f"\nhint: {found.hint}", markup=False, soft_wrap=True)


def _show(console: Console, title: str, function: Callable[..., bool], played: Round) -> None:
    console.print(f"\n[bold]{title}[/]\n")
    console.print(Text(textwrap.indent(inspect.getsource(function), "    "), "cyan"))
    for line in _lines(console, played.outcomes):
        console.print(line, soft_wrap=True)
    colour = "green" if played.is_right else "red"
    console.print(f"\n    tickets sold: [bold {colour}]{played.sold}[/]    the row: seats_left={played.seats_left}")


def _lines(console: Console, outcomes: Outcomes) -> Iterator[Text]:
    """One line per call, as a table of rich's would have it, but for the blanks at the ends of its lines."""
    first = min((report.started for report in outcomes.reports if report.started is not None), default=0.0)
    last = max((report.finished for report in outcomes.reports if report.finished is not None), default=first)
    shown = list(zip(map(_returned, outcomes), outcomes.reports, strict=True))[:_SHOWN]
    width = max(len(returned) for returned, _ in [("returned", None), *shown])
    yield Text(f"    {'process':>7}  {'returned':{width}}  {'started':>10}  {'ended':>10}", "dim")
    for returned, report in shown:
        times = f"{_ms(report.started, first):>10}  {_ms(report.finished, first):>10}"
        yield Text(f"    {report.pid or '-':>7}  {returned:{width}}  {times}  {_lane(console, report, first, last)}")
    if hidden := len(outcomes) - len(shown):
        yield Text(f"    and {hidden} more", "dim")


def _returned(outcome: object) -> str:
    return type(outcome.error).__name__ if isinstance(outcome, WrappedError) else repr(outcome)


def _lane(console: Console, report: CallReport, first: float, last: float) -> str:
    if report.started is None or report.finished is None or last <= first:
        return ""
    start, end = (round((time - first) / (last - first) * _LANE) for time in (report.started, report.finished))
    return " " * start + ("=" if console.options.ascii_only else "━") * max(end - start, 1)


def _ms(time: float | None, first: float) -> str:
    return "-" if time is None else f"{(time - first) * 1000:.2f} ms"


def _describe_database() -> str:
    from django.db import connection

    version = ".".join(map(str, connection.get_database_version()))
    place = (
        "in a temporary folder"
        if connection.vendor == "sqlite"
        else f"in the database {connection.settings_dict['NAME']}, which is dropped at the end"
    )
    return f"{connection.display_name} {version}, {place}"


def _tell_errors(console: Console, errors: Sequence[WrappedError]) -> int:
    console.print()
    for error in errors:
        console.print(str(error), markup=False)
    console.print("Calls failed, so this shows nothing about races.")
    return 1


def _conclude(console: Console, rounds: tuple[Round, Round], explored: tuple[Exploration, Exploration]) -> int:
    naive, safe = rounds
    console.print()
    if not safe.is_right or [each.verdict for each in explored] != ["race", "no race"]:
        console.print("This is not what should happen: please report it, with all of the above.")
        return 1
    told = f"sold one ticket {naive.sold} times"
    if naive.sold < 2:
        told = f"had luck in {_ROUNDS} rounds, and not in every order"
    for line in (
        f"The naive version {told}; the safe one sold it once, in every order.",
        "Next: explore(call, call).assert_no_race() in a test of yours; python -m pydoc aioconcurrent.sync",
        "Or let the tests that you have find races: aioconcurrent hunt --help",
    ):
        console.print(line, soft_wrap=True)
    return 0
