"""The pure core: what decides, reads and draws, tested without a server, a process or a connection.

pytest-django refuses the databases of the settings; a process or a connection is refused here.
"""

import sys
from collections.abc import Iterator

import pytest

_REFUSED = frozenset({"os.fork", "os.posix_spawn", "socket.connect", "subprocess.Popen"})


class _Guard:
    """An audit hook stays for as long as the process lives: it refuses only while such a test runs."""

    is_on = False

    def __call__(self, event: str, _: object) -> None:
        if self.is_on and event in _REFUSED:
            raise RuntimeError(f"a test of the core has asked for {event}: it belongs to another folder of tests/")


_guard = _Guard()
sys.addaudithook(_guard)


@pytest.fixture(autouse=True)
def nothing_but_values() -> Iterator[None]:
    """Refuse processes and connections."""
    _guard.is_on = True
    yield
    _guard.is_on = False
