"""Calls that use the network."""

from __future__ import annotations

import asyncio
import socket

PUBLIC = "203.0.113.1"  # of TEST-NET-3 (RFC 5737): nobody has it


def connect(host: str = PUBLIC, port: int = 9) -> str:
    with socket.create_connection((host, port), timeout=5):
        return "connected"


def connect_ex(host: str = PUBLIC, port: int = 9) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as link:
        return link.connect_ex((host, port))


def send_datagram(host: str = PUBLIC, port: int = 9) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        return link.sendto(b"x", (host, port))


def send_message(host: str = PUBLIC, port: int = 9) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        return link.sendmsg([b"x"], [], 0, (host, port))


async def aconnect(host: str = PUBLIC, port: int = 9) -> str:
    _, writer = await asyncio.open_connection(host, port)
    writer.close()
    await writer.wait_closed()
    return "connected"


def connect_locally(path: str) -> str:
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(path)
    return "connected"
