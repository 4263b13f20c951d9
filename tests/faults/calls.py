"""What the fault tests call: functions that misbehave, each in its own way."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import anyio
from django.db import connections

from tests.faults.processes import wait_until

FOR_EVER = 600  # seconds; no test waits as long
SLEEPER = [sys.executable, "-S", "-c", f"import time; time.sleep({FOR_EVER})"]


def answer(value: Any = 42) -> Any:
    return value


def get_pids() -> tuple[int, int]:
    """The process of this call, and the one that started it: the template, where there is one."""
    return os.getpid(), os.getppid()


def tell_pid(value: int) -> tuple[int, int]:
    return value, os.getpid()


def answer_or_raise(value: int) -> int:
    """Return, or in the second half of four raise."""
    if value // 2 % 2:
        raise ValueError(value)
    return value


# Dying


def exit_with(status: int) -> NoReturn:
    os._exit(status)


def die_of(number: int) -> None:
    os.kill(os.getpid(), number)


def die_after_result(number: int) -> int:
    """Return, and have the process killed by the time it would end in order."""

    def die(status: int) -> None:
        os.kill(os.getpid(), number)
        time.sleep(FOR_EVER)

    os._exit = die  # type: ignore[assignment]
    return 42


def die_at_once() -> NoReturn:
    os._exit(5)


def die_in_turn(folder: Path, numbers: Sequence[int]) -> None:
    """Die of the first of these signals in the first process that comes here, and so on; the rest goes on."""
    for number in numbers:
        with contextlib.suppress(FileExistsError):
            (folder / f"died of {number}").touch(exist_ok=False)
            die_of(number)


def stop_parent_and_die(number: int) -> None:
    """Die while the process that would notice it stands still."""
    os.kill(os.getppid(), signal.SIGSTOP)
    die_of(number)


def say_and_die() -> NoReturn:
    """Have last words."""
    print("the disk is on fire", file=sys.stderr)
    os._exit(3)


def fall_silent() -> None:
    """Close whatever the process talks through, and stay."""
    os.closerange(3, 1000)
    time.sleep(FOR_EVER)


# Not ending


def sign_in(folder: Path, *pids: int) -> None:
    """Leave a file named after each process, by default this one."""
    for pid in pids or [os.getpid()]:
        (folder / str(pid)).touch()


def sleep_for_ever() -> None:
    time.sleep(FOR_EVER)


def sign_in_and_stay(folder: Path) -> None:
    sign_in(folder)
    time.sleep(FOR_EVER)


async def sign_in_and_stay_in_coroutine(folder: Path) -> None:
    sign_in(folder)
    await anyio.sleep_forever()


def stay_deaf(folder: Path) -> None:
    """Stay, and let no signal in that can be blocked."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    sign_in_and_stay(folder)


def ignore_termination(folder: Path) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sign_in_and_stay(folder)


def tell_of_termination(folder: Path) -> None:
    """Leave a file when asked to end, and do not end."""
    signal.signal(signal.SIGTERM, lambda *_: (folder / "terminated").touch())
    sign_in(folder)
    while True:
        time.sleep(FOR_EVER)


def let_first_pass(folder: Path) -> None:
    """Sign in; the first process goes on, and any other stays."""
    sign_in(folder)
    try:
        (folder / "first").touch(exist_ok=False)
    except FileExistsError:
        time.sleep(FOR_EVER)


def pause(seconds: float) -> None:
    time.sleep(seconds)


def run(folder: Path) -> None:
    """Leave a trace of having run."""
    (folder / "run").touch()


def wait_for_file(file: Path) -> bool:
    """Wait until another process has made the file."""
    return wait_until(file.exists)


def meet(folder: Path, number: int) -> bool:
    """Wait until a call of the other race, 0 or 1, is here too."""
    (folder / f"race {number}").touch()
    return wait_until((folder / f"race {1 - number}").exists)


def start_endless_thread() -> str:
    threading.Thread(target=time.sleep, args=[FOR_EVER], name="endless").start()
    return "returned"


def wait_for_database(using: str) -> None:
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT pg_sleep(600)" if connections[using].vendor == "postgresql" else "SELECT SLEEP(600)")


def increment_and_stay(folder: Path, pk: int) -> None:
    """Commit a change, and stay."""
    from tests.project.shop.calls import increment_atomically  # needs a project with this app

    increment_atomically(pk)
    sign_in_and_stay(folder)


def sign_in_and_wait_for_database(folder: Path, using: str) -> None:
    sign_in(folder)
    wait_for_database(using)


# Descendants


def start_sleeper(*, new_session: bool = False) -> int:
    """Return the process id of a child that sleeps on when this call has returned."""
    return subprocess.Popen(SLEEPER, start_new_session=new_session).pid


def leave_sleeper(folder: Path, end: str) -> int:
    """Sign in a child in a session of its own, and return or die."""
    pid = start_sleeper(new_session=True)
    sign_in(folder, pid)
    if end == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return pid


def fork_sleeper(*, new_session: bool = False) -> int:
    """The same by fork alone, so that the child holds every descriptor of this process."""
    pid = os.fork()
    if pid == 0:
        if new_session:
            os.setsid()
        time.sleep(FOR_EVER)
        os._exit(0)
    return pid


def return_twice() -> int:
    """Fork, and return in both processes, in the copy first."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    return pid


def have_children_and_die(folder: Path) -> NoReturn:
    sign_in(folder, start_sleeper(), fork_sleeper())
    os._exit(3)


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def stay_with_children(folder: Path, *, escaping: bool = False) -> None:
    """Sign in with two children, of which one may leave the process group, and stay."""
    sign_in(folder, start_sleeper(), start_sleeper(new_session=escaping), os.getpid())
    time.sleep(FOR_EVER)


# Descriptors and output


def close_standard_descriptors() -> str:
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    return "returned"


def close_every_descriptor() -> None:
    os.closerange(0, 4096)


def read_standard_input() -> str:
    return sys.stdin.read()


def flood(megabytes: int) -> str:
    """Print that much to stdout and as much to stderr."""
    print("first words", flush=True)
    line = b"x" * 65535 + b"\n"
    for _ in range(megabytes * 16):
        os.write(1, line)
        os.write(2, line)
    print("last words")
    return "returned"


def print_and_answer() -> int:
    print("out", flush=True)
    print("err", file=sys.stderr, flush=True)
    return 42


def print_in_every_way() -> None:
    print("print", flush=True)
    print("stderr", file=sys.stderr, flush=True)
    os.write(1, b"descriptor 1 \xff\n")
    os.write(2, b"descriptor 2\n")
    subprocess.run([sys.executable, "-S", "-c", "print('child')"], check=True)


def make_bytes(megabytes: int) -> bytes:
    return b"x" * (megabytes * 1024 * 1024)
