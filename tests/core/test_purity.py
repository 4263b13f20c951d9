"""What a test of this folder must not do."""

import socket
import subprocess
import sys

import pytest


def test_a_process_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"asked for subprocess\.Popen"):
        subprocess.run([sys.executable, "-c", ""], check=False)


def test_a_connection_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"asked for socket\.connect"), socket.socket() as client:
        client.connect(("127.0.0.1", 1))
