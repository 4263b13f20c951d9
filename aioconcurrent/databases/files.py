"""Who holds locks on the file of an SQLite database, as far as the system can tell."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from .identity import sqlite_file


def lock_holders(identity: str) -> frozenset[int]:
    """The processes that have a write lock on the file of a database, or on what SQLite keeps beside it.

    Linux alone tells (proc(5), /proc/locks); elsewhere none is known.

    Args:
        identity: As `database_identity` has it.
    """
    file, found = sqlite_file(identity.rpartition("@")[0]), set()
    inodes = set()
    for suffix in ("", "-wal", "-shm"):
        with suppress(OSError):
            inodes.add(os.stat(f"{file}{suffix}").st_ino)
    with suppress(OSError, ValueError):
        for line in Path("/proc/locks").read_text().splitlines():
            if " -> " not in line:  # a lock that is waited for
                _, _, _, mode, pid, place, *_ = line.split()
                if mode == "WRITE" and int(place.rpartition(":")[2]) in inodes:
                    found.add(int(pid))
    return frozenset(found)


def describe_process(pid: int) -> str:
    """Say for people which process this is."""
    if pid == os.getpid():
        return f"process {pid}, the one that explores, has a transaction open on it"
    command = ""
    with suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return f"process {pid}{f' ({command[:80]})' if command else ''} has a transaction open on it"
