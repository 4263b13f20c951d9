"""A hunt from its options to its report, with any test runner."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import report
from .committing import committing
from .findings import Finding
from .hooks import catch
from .hunter import Hunter
from .observer import observer

if TYPE_CHECKING:
    from collections.abc import Callable

    from .options import HuntOptions


def start(options: HuntOptions) -> Hunter:
    """Begin to record; Django must be set up."""
    hunter = Hunter(options)
    observer.install()
    committing.install()
    catch(hunter)
    return hunter


def hunt(hunter: Hunter, run_again: Callable[[str], object]) -> None:
    """Explore what the tests have come to.

    Args:
        run_again: Runs one test, and swallows whatever becomes of it.
    """
    tests = hunter.prepare()
    if hunter.options.list:
        return
    with hunter.again():
        for test in tests:
            if hunter.is_due(test):
                run_again(test)
                hunter.settle(test)


def merged(hunter: Hunter, others: list[dict[str, Any]]) -> None:
    """Take what hunters of other processes have found and counted."""
    for other in others:
        for values in other["races"]:
            hunter.findings.add(Finding.of_dict(values))
        for page, text in other["pages"].items():
            _page(hunter, page).parent.mkdir(parents=True, exist_ok=True)
            _page(hunter, page).write_text(text, "utf-8", newline="\n")
        for reason, count in other["unhunted"].items():
            hunter.unhunted.add(reason, count)
        for told, names in other["unfollowed"].items():
            hunter.miss(told, names)
        counts, theirs = hunter.counts, other["counts"]
        counts.verdicts.update(theirs.pop("verdicts"))
        counts.seconds = max(counts.seconds, theirs.pop("seconds"))
        for name, value in theirs.items():
            setattr(counts, name, getattr(counts, name) + value)


def for_merging(hunter: Hunter) -> dict[str, Any]:
    """What `merged` takes, as plain values."""
    races = list(hunter.findings.by_cause.values())
    return {
        "races": [each.as_dict() for each in races],
        "pages": {each.page: _page(hunter, each.page).read_text("utf-8") for each in races},  # maybe of another machine
        "unhunted": hunter.unhunted.counts,
        "unfollowed": {told: list(names) for told, names in hunter.unfollowed.items()},
        "counts": {**vars(hunter.counts), "verdicts": dict(hunter.counts.verdicts)},
        "plan": report.plan(hunter) if hunter.options.list else [],
    }


def _page(hunter: Hunter, name: str) -> Path:
    return Path(hunter.options.folder, "pages", name)


def finish(hunter: Hunter, write: Callable[[str], None], planned: list[str] | None = None) -> bool:
    """Tell what was found; return whether the run is to fail for it.

    Args:
        planned: What would be hunted, if other processes have said so.
    """
    if hunter.options.list:
        for line in planned if planned is not None else report.plan(hunter):
            write(line)
        return False
    options, baseline = hunter.options, Path(hunter.options.baseline)
    known = report.known_causes(baseline)
    by_cause = hunter.findings.by_cause
    for cause, each in by_cause.items():
        by_cause[cause] = replace(each, is_known=cause in known)
    found = hunter.findings.ranked()
    for line in report.table(found):
        write(line)
    if options.stories:
        for number, each in enumerate(found, 1):
            write(f"\n--- {number}: {each.who}, in {each.test}\n\n{each.story}\n")
    for line in report.summary(hunter):
        write(line)
    write(f"report: {report.write_report(hunter, found)}")
    if options.junit:
        report.write_junit(Path(options.junit), hunter, found)
    if options.accept:
        report.write_baseline(baseline, found, known - by_cause.keys())
        write(f"baseline: {baseline}")
        return False
    if options.fail_on == "never":
        return False
    return any(options.fail_on == "any" or not each.is_known for each in found)
