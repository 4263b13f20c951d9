"""What a hunt writes for people and programs: the table, an index of pages, JSON, JUnit, and the baseline."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from .._text import counted, printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from .findings import Finding
    from .hunter import Hunter
    from .options import HuntOptions


_NAMES = 3  # of actions, beside what they enqueue


def table(found: Iterable[Finding]) -> list[str]:
    """A few lines a race, with a number by which `--story` knows it."""
    lines = []
    for number, each in enumerate(found, 1):
        known = "  (known)" if each.is_known else ""
        lines += [
            f"{number:>3}  {each.anomaly}: {each.who}{known}",
            f"     {each.seen}: {each.explanation}",
            *([f"     also: {', '.join(each.others)}"] if each.others else []),
            f"     {each.test}{_more(each)}  {each.token}",
        ]
    return [printable(line) for line in lines]


def _more(found: Finding) -> str:
    others = len(found.tests) - 1
    return f" and {others} more" if others > 0 else ""


def summary(hunter: Hunter) -> list[str]:
    """What was done, and what was not."""
    counts = hunter.counts
    races = len(hunter.findings.by_cause)
    found = f"{counted(races, 'race')} in {counted(counts.pairs, 'pair')}"
    where = f"of {counted(counts.actions, 'action')} of {counted(counts.tests, 'test')}"
    lines = [f"{found} {where}; {counted(counts.schedules, 'schedule')} in {counts.seconds:.0f} s"]
    told = [f"{number} {verdict}" for verdict, number in sorted(counts.verdicts.items())]
    if told:
        exhaustive = f"; {counts.exhaustive} of those without a race are exhaustive" if counts.exhaustive else ""
        lines.append(f"verdicts: {', '.join(told)}{exhaustive}")
    if hunter.unhunted.counts:
        lines.append("not explored:")
        ordered = sorted(hunter.unhunted.counts.items(), key=lambda each: -each[1])
        lines += [f"  {count:>5}  {reason}" for reason, count in ordered]
    for work, names in sorted(hunter.unfollowed.items()):
        lines.append(f"{work} ({', '.join([*names][:_NAMES])}{', ...' if len(names) > _NAMES else ''})")
    return [printable(line) for line in lines]


def plan(hunter: Hunter) -> list[str]:
    """What would be hunted, the most dangerous first."""
    return [f"{pair}  ({pair.second.test})" for pair in hunter.planned]


def known_causes(path: Path) -> frozenset[str]:
    """The causes of the races that a baseline knows.

    Raises:
        ValueError: It is no baseline.
    """
    if not path.exists():
        return frozenset()
    try:
        return frozenset(str(race["cause"]) for race in tomllib.loads(path.read_text("utf-8")).get("race", []))
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not the baseline of a hunt: {error}") from None


def write_baseline(path: Path, found: Iterable[Finding], kept: Collection[str] = ()) -> None:
    """Write a baseline that knows these races."""
    parts = ["# Races that are known, by the cause that a hunt tells. A race that is mended can be taken out.\n"]
    parts += [
        f"[[race]]\ncause = {json.dumps(each.cause)}\n"
        f"what = {json.dumps(f'{each.anomaly}: {each.who}', ensure_ascii=False)}\n"
        for each in found
    ]
    parts += [f"[[race]]\ncause = {json.dumps(cause)}\n" for cause in sorted(kept)]
    path.write_text("\n".join(parts), "utf-8")


def write_report(hunter: Hunter, found: list[Finding]) -> Path:
    """Write the folder of the report; return its index."""
    folder = Path(hunter.options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n")
    content = {
        "races": [each.as_dict() for each in found],
        "not_explored": hunter.unhunted.counts,
        "not_followed": {told: list(names) for told, names in hunter.unfollowed.items()},
        "pairs": hunter.counts.pairs,
        "actions": hunter.counts.actions,
        "tests": hunter.counts.tests,
        "schedules": hunter.counts.schedules,
        "seconds": round(hunter.counts.seconds, 1),
        "verdicts": dict(hunter.counts.verdicts),
    }
    (folder / "hunt.json").write_text(json.dumps(content, indent=1, ensure_ascii=False), "utf-8")
    index = folder / "index.html"
    index.write_text(_index(hunter, found), "utf-8")
    return index


def read_findings(options: HuntOptions) -> list[dict[str, Any]]:
    """The races of the last hunt, as JSON has them; none where there was none."""
    path = Path(options.folder, "hunt.json")
    return list(json.loads(path.read_text("utf-8"))["races"]) if path.exists() else []


_STYLE = """
body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; vertical-align: top; padding: .5rem }
tr { border-top: 1px solid #8884 } code { font-size: .9em; overflow-wrap: anywhere } .known { opacity: .6 }
:root { color-scheme: light dark }
"""


def _index(hunter: Hunter, found: list[Finding]) -> str:
    """A page with a line for each race; all that comes from the project is hostile text."""
    from django.utils.html import format_html, format_html_join
    from django.utils.safestring import mark_safe

    rows = format_html_join(
        "\n",
        '<tr class="{}"><td>{}</td><td><a href="pages/{}">{}</a>: {}<br>{}</td><td>{}</td>'
        "<td><code>{}</code><br><code>{}</code></td></tr>",
        (
            (
                "known" if each.is_known else "new",
                number,
                each.page,
                each.anomaly,
                each.who,
                each.explanation,
                each.seen,
                each.test,
                each.token,
            )
            for number, each in enumerate(found, 1)
        ),
    )
    return str(
        format_html(
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
            'content="width=device-width, initial-scale=1"><title>Races</title><style>{}</style></head><body><main>'
            "<h1>Races</h1><table><thead><tr><th>#</th><th>Race</th><th>What a user would see</th><th>Test, order</th>"
            "</tr></thead><tbody>{}</tbody></table><pre>{}</pre></main></body></html>\n",
            mark_safe(_STYLE),
            rows,
            "\n".join(summary(hunter)),
        )
    )


def write_junit(path: Path, hunter: Hunter, found: list[Finding]) -> None:
    """Write a report of which each race is a test case that failed; known ones are skipped."""
    failing = [each for each in found if not each.is_known]
    suite = ET.Element("testsuite", name="aioconcurrent hunt", tests=str(len(found)), failures=str(len(failing)))
    suite.set("time", f"{hunter.counts.seconds:.1f}")
    for each in found:
        case = ET.SubElement(
            suite, "testcase", classname=printable(each.test), name=printable(f"{each.anomaly}: {each.who}")
        )
        if each.is_known:
            ET.SubElement(case, "skipped", message="in the baseline")
        else:
            failure = ET.SubElement(case, "failure", message=printable(each.explanation), type=each.kind)
            failure.text = printable(each.story)
    ET.ElementTree(suite).write(path, encoding="unicode", xml_declaration=True)
