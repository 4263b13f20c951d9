"""Starts the hosts of a soak one after another, and tells what came of it.

hatch run soak [--minutes 2] [--faults 100000] [--seed 1] [--races 17-17] [--without KIND ...]
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests import servers
from tests.faults.processes import MARK, left_of, marked

ROOT = Path(__file__).parents[2]
PATIENCE = 90.0  # seconds without a word are a hang
KINDS = [
    *("kill", "stop", "exit", "close", "flood", "unpicklable", "error", "cancel", "cancel twice"),
    *("termination", "sessions ended", "template killed", "parent killed"),
]
FINDINGS = [
    *("hangs", "lost errors", "raised", "wrong verdicts", "rows"),
    *("orphans", "descriptors", "threads", "files", "sessions", "locks"),
]


class Soak:
    """Counts what hosts tell.

    Attributes:
        hits: How many faults there were, by kind.
        findings: How many things went wrong, by kind.
        races: How many there were.
    """

    def __init__(self, seed: int, folder: Path, without: list[str]) -> None:
        self._seed, self._without = seed, without
        self._folder = folder
        self._mark = f"soak {os.getpid()}"
        self.hits: Counter[str] = Counter()
        self.findings: Counter[str] = Counter()
        self.races = 0
        self._begun = 0
        self._plan = ""
        self._is_doomed = False

    def run(self, first: int, last: int, deadline: float, faults: int) -> None:
        """Soak until any of the limits is reached."""
        while first <= last and time.monotonic() < deadline and self.hits.total() < faults:
            self._host(first, last, deadline, faults)
            first = self._begun + 1
        if self._is_doomed:  # somebody has to take the databases away
            self._host(1, 0, deadline, faults)

    def _host(self, first: int, last: int, deadline: float, faults: int) -> None:
        reading, writing = os.pipe()
        self._begun, self._is_doomed = first - 1, False
        temporary = self._folder / "tmp"
        temporary.mkdir(exist_ok=True)
        environment = {
            **os.environ,
            MARK: self._mark,
            "AIOCONCURRENT_SOAK": str(os.getpid()),
            "DJANGO_SETTINGS_MODULE": "tests.soak.settings",
            "TMPDIR": str(temporary),
        }
        with (self._folder / "log").open("ab") as log:
            arguments = [writing, self._seed, first, last, *self._without]
            host = subprocess.Popen(
                [sys.executable, "-m", "tests.soak.host", *map(str, arguments)],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                pass_fds=[writing],
            )
        os.close(writing)
        with os.fdopen(reading, "rb", buffering=0) as stream:
            self._listen(host, stream.fileno(), deadline, faults)
        self._see_off(host, temporary)

    def _listen(self, host: subprocess.Popen[bytes], stream: int, deadline: float, faults: int) -> None:
        heard, is_stopping = b"", False
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while True:
                if not selector.select(PATIENCE):
                    self._note("hangs", f"nothing was heard for {PATIENCE:g} s in {self._plan}")
                    host.send_signal(signal.SIGUSR1)  # the stacks, to the log
                    time.sleep(1)
                    host.kill()
                    self._is_doomed = True
                    return
                data = os.read(stream, 65536)
                if not data:
                    return
                *lines, heard = (heard + data).split(b"\n")
                for line in lines:
                    self._hear(json.loads(line))
                if not is_stopping and (time.monotonic() > deadline or self.hits.total() >= faults):
                    is_stopping = True
                    host.terminate()  # it ends after its race

    def _hear(self, told: dict[str, object]) -> None:
        match told:
            case {"begun": int(number), "plan": str(plan)}:
                self._begun, self._plan = number, plan
            case {"doomed": int()}:
                self._is_doomed = True
            case {"number": int(), "hits": list(hits), "findings": list(findings)}:
                self.races += bool(hits) or not findings
                self.hits.update(hits)
                self._is_doomed = False
                for kind, text in findings:
                    self._note(kind, text)

    def _see_off(self, host: subprocess.Popen[bytes], temporary: Path) -> None:
        """See that nothing of it lives on, however it has ended."""
        status = host.wait()
        if self._is_doomed and status == -signal.SIGKILL:
            self.hits["parent killed"] += 1
        elif status:
            self._note("hangs", f"the host ended with status {status} in {self._plan}")
        for pid in left_of(marked(self._mark), 10):
            self._note("orphans", f"process {pid} lives on after its parent: {self._plan}")
            os.kill(pid, signal.SIGKILL)
        if not status:
            for path in temporary.iterdir():  # what one that was killed could not take away the next one has to
                self._note("files", f"{path.name} stays: {self._plan}")

    def _note(self, kind: str, text: str) -> None:
        self.findings[kind] += 1
        print(f"race {self._begun}: {kind}: {text}", flush=True)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="hatch run soak")
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--faults", type=int, default=sys.maxsize, help="stop after that many")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--races", default="1-1000000000", help="the numbers of the first and the last")
    parser.add_argument("--without", action="append", default=[], choices=KINDS, help="a kind to leave out")
    chosen = parser.parse_args(arguments)
    first, _, last = chosen.races.partition("-")
    print(f"seed {chosen.seed}", flush=True)
    servers.find_postgresql(), servers.find_mysql()
    with tempfile.TemporaryDirectory(prefix="aioconcurrent-soak-") as folder:
        begun = time.monotonic()
        soak = Soak(chosen.seed, Path(folder), chosen.without)
        soak.run(int(first), int(last or first), begun + chosen.minutes * 60, chosen.faults)
        if soak.findings["hangs"]:
            print((Path(folder) / "log").read_bytes()[-20_000:].decode(errors="replace"))
    print(f"{soak.races:,} races and explorations in {(time.monotonic() - begun) / 60:.0f} minutes, seed {chosen.seed}")
    print(f"{soak.hits.total():,} faults: " + ", ".join(f"{kind} {soak.hits[kind]:,}" for kind in KINDS))
    print(", ".join(f"{kind} {soak.findings[kind]}" for kind in FINDINGS))
    return int(soak.findings.total() > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
