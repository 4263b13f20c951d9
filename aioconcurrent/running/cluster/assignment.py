"""What a process on another machine is told before its first run, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...databases.copies import Copy
    from ...databases.dumps import Source
    from ...engine.world import Context
    from ..options import Options
    from .addresses import Address
    from .fingerprint import Fingerprint


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
