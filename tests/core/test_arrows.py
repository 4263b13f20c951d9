"""Who may know whom: the arrows between modules, and between the parts of the package, point one way."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import aioconcurrent

HOME = Path(aioconcurrent.__file__).parent
MODULES = {
    ".".join(path.relative_to(HOME.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in HOME.rglob("*.py")
}

# From the ground to the top; each knows only what stands before it.
FLOORS = (
    "_text", "exceptions", "base", "sql", "doubles", "engine", "databases", "report", "results", "exploring", "running",
    "hunting", "_api", "sync", "_pytest", "pytest_plugin",
)  # fmt: skip
ROOMS = ("orders", "judging", "anomalies", "stepping", "")  # of `exploring`, likewise; what drives them is in none
APART = {("report", "engine"), ("report", "databases"), ("exploring", "report")}


def imported(name: str) -> Iterator[str]:
    """The modules of the package that a module imports, wherever in it that is: for types or in a function, too."""
    package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            source = ".".join([*above, *filter(None, [node.module])])
            found = {f"{source}.{alias.name}" for alias in node.names} & MODULES.keys()
            yield from found or {source} - {name}


ARROWS = {name: set(imported(name)) for name in MODULES}


def part(name: str) -> str:
    """The folder of a module, or the module where it is in none."""
    return name.split(".")[1] if "." in name else name


def test_no_module_knows_itself_through_others() -> None:
    TopologicalSorter(ARROWS).prepare()


def test_no_folder_knows_itself_through_others() -> None:
    parts: dict[str, set[str]] = {}
    for name, known in ARROWS.items():
        parts.setdefault(part(name), set()).update({part(other) for other in known} - {part(name)})
    TopologicalSorter(parts).prepare()


def test_arrows_point_down_and_the_wings_stand_apart() -> None:
    wrong = [
        f"{name} -> {other}"
        for name, known in ARROWS.items()
        for other in known
        if part(name) in FLOORS and part(other) in FLOORS
        if FLOORS.index(part(name)) < FLOORS.index(part(other)) or (part(name), part(other)) in APART
    ]
    assert wrong == []


def test_the_rooms_of_exploring_know_only_what_stands_below() -> None:
    rooms = {
        name: name.split(".")[2] if (MODULES[name].parent != HOME / "exploring") else ""
        for name in MODULES
        if name.startswith("aioconcurrent.exploring.")
    }
    wrong = [
        f"{name} -> {other}"
        for name, room in rooms.items()
        for other in ARROWS[name] & rooms.keys()
        if ROOMS.index(room) < ROOMS.index(rooms[other])
    ]
    assert wrong == []
