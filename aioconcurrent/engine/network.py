"""No call reaches a public address of the network, unless the test says so.

An audit hook (PEP 578) of the call's process refuses the connection before any
packet is sent: it stands below whatever a project, or a mock, does to sockets.
What C libraries connect by themselves, as libpq and gRPC do, Python does not see.
"""

from __future__ import annotations

import _socket
import contextlib
import ipaddress
import socket
import sys
import threading
from dataclasses import dataclass
from inspect import getclosurevars
from typing import TYPE_CHECKING, Any

from ..exceptions import NetworkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Address = ipaddress.IPv4Address | ipaddress.IPv6Address
    Place = tuple[str, int | None]  # a host, or a path, and its port if only that is meant
    Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# What `ipaddress` calls private has networks for documentation in it, too, which lead nowhere only if all goes well.
_OPEN = [
    ipaddress.ip_network(network)
    for network in (
        *("0.0.0.0/32", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.168.0.0/16", "::/128", "::1/128", "fc00::/7", "fe80::/10"),
    )
]
_EVENTS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})


@dataclass(frozen=True, slots=True)
class Reach:
    """Which addresses calls may reach.

    Attributes:
        anywhere: All of them.
        hosts: Names, addresses and networks of the test, besides the private ones.
        banned: Whether pytest-socket closes the private ones, too.
        local_sockets: Whether it leaves those of the system's own kind (AF_UNIX) open.
    """

    anywhere: bool = False
    hosts: tuple[str, ...] = ()
    banned: bool = False
    local_sockets: bool = True

    @classmethod
    def capture(cls, allowed: bool | Iterable[str]) -> Reach:
        """Take note of what the test says, by our option and by pytest-socket."""
        hosts = () if isinstance(allowed, bool) else tuple(allowed)
        module = sys.modules.get("pytest_socket")
        if module is not None and socket.socket is not module._true_socket:
            state = getclosurevars(socket.socket.__new__).nonlocals
            return cls(False, hosts, True, state["allow_unix_socket"])
        if module is not None and socket.socket.connect is not module._true_connect:
            state = getclosurevars(socket.socket.connect).nonlocals
            hosts = (*hosts, *state["allowed_ip_hosts_and_hostnames"], *map(str, state.get("networks", ())))
            return cls(False, hosts, True, state["allow_unix_socket"])
        return cls(allowed is True, hosts)

    def restrict(self, own_places: Callable[[], Iterable[Place]]) -> None:
        """Hold this process to it, for the rest of its life.

        Args:
            own_places: Of the project's databases and caches, which are always open; asked when one is refused.
        """
        if not self.anywhere:
            sys.addaudithook(_Guard(self, own_places).hear)


class _Guard:
    """Looks at each connection."""

    def __init__(self, access: Reach, own_places: Callable[[], Iterable[Place]]) -> None:
        self._access, self._own_places = access, own_places
        self._state = threading.local()  # what a thread asks on our own behalf, and which name it asked for last

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _EVENTS:
            self._check(arguments[0], arguments[1])
        elif event == "socket.getaddrinfo":
            self._state.name = arguments[0]

    def _check(self, link: socket.socket, address: Any) -> None:
        text = self._describe(address)
        if link.family not in (socket.AF_INET, socket.AF_INET6):
            is_local = link.family == getattr(socket, "AF_UNIX", None)
            allowed = not is_local or self._access.local_sockets or (str(address), None) in self._own_places()
        else:
            allowed = address is None or self._is_allowed(str(address[0]), address[1])
        if not allowed:
            with contextlib.suppress(OSError):
                link.close()  # nobody would, for this is no OSError
            raise NetworkError(text, self._access.banned)

    def _is_allowed(self, host: str, port: int) -> bool:
        addresses = _addresses(host)
        if not self._access.banned and addresses and all(_is_within(each, _OPEN) for each in addresses):
            return True
        own = [name for name, known in self._own_places() if known in (port, None)]
        allowed = [*self._access.hosts, *own]
        if host in allowed:
            return True
        networks = [network for name in allowed for network in _networks(name)]
        return bool(addresses) and all(_is_within(each, networks) for each in addresses)

    def _describe(self, address: Any) -> str:
        if not isinstance(address, tuple):
            return str(address)
        asked = getattr(self._state, "name", None)
        name = f" ({asked})" if isinstance(asked, str) and asked != address[0] else ""
        return f"{address[0]}{name}, port {address[1]}"


def _addresses(host: str) -> list[Address]:
    """Resolve a host; an address is its own, and a name that is unknown has none."""
    with contextlib.suppress(ValueError):
        return [_plain(host)]
    with contextlib.suppress(OSError, UnicodeError):
        return [_plain(str(found[4][0])) for found in _socket.getaddrinfo(host, None)]
    return []


def _networks(name: str) -> list[Network]:
    with contextlib.suppress(ValueError):
        return [ipaddress.ip_network(name, strict=False)]
    return [ipaddress.ip_network(address) for address in _addresses(name)]


def _plain(text: str) -> Address:
    """The address without its zone, and without the form in which IPv6 has addresses of IPv4."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _is_within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks if network.version == address.version)
