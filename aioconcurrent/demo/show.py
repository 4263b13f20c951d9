"""What the demo does and prints: rounds of buyers, first with the naive `buy`, then with the safe one."""

from __future__ import annotations

import inspect
import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console
from rich.text import Text

from ..exceptions import WrappedError
from ..sync import Outcomes, call_concurrently
from .databases import own_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .._outcomes import CallReport

_ROUNDS = 10  # how often luck may save the naive version
_SHOWN = 20  # calls of a round
_LANE = 30  # characters


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
    return _conclude(console, naive, safe)


def _play_until_oversold(console: Console, buy: Callable[..., bool], calls: int) -> Round:
    for number in range(1, _ROUNDS + 1):
        played = _play(buy, calls)
        if played.sold > 1 or played.outcomes.errors or number == _ROUNDS:
            break
        console.print(f"\nRound {number}: sold once, by luck: nobody looked while another one bought. Once more.")
    _show(console, "Naive: look for a seat, sell it, write down how many are left", buy, played)
    return played


def _play(buy: Callable[..., bool], calls: int) -> Round:
    from .models import Show, Ticket

    show = Show.objects.create(title="The Mousetrap", seats_left=1)
    outcomes = call_concurrently(calls, buy, show_id=show.pk)
    show.refresh_from_db()
    return Round(outcomes, Ticket.objects.filter(show=show).count(), show.seats_left)


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


def _conclude(console: Console, naive: Round, safe: Round) -> int:
    console.print()
    if errors := naive.outcomes.errors + safe.outcomes.errors:
        for error in errors:
            console.print(str(error), markup=False)
        console.print("Where calls fail, nothing is shown about those that do not.")
    elif not safe.is_right:
        console.print(f"The safe version sold one ticket {safe.sold} times, which should not happen.")
    elif naive.sold < 2:
        console.print(
            f"Both versions sold one ticket once, the naive one in each of {_ROUNDS} rounds: the race is in its code, "
            "but it was not met here. Try more buyers: --calls 20"
        )
    else:
        console.print(f"The naive version sold one ticket {naive.sold} times, the safe one once.")
        console.print("Read next: the first test in the README, or python -m pydoc aioconcurrent.sync")
        return 0
    return 1
