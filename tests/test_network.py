"""Calls reach no public address; here is none that could be reached, so what is tested is that nobody tries."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from aioconcurrent import NetworkError
from aioconcurrent.engine.network import Reach, _Guard
from aioconcurrent.running.project import _places_of
from aioconcurrent.sync import call_concurrently, explore, options, override_environment
from tests.project import network
from tests.project.network import PUBLIC

pytest_plugins = ["tests.project.start_methods"]
both_start_methods = pytest.mark.usefixtures("start_method")


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


WAYS = [network.connect, network.connect_ex, network.send_datagram, network.send_message, network.aconnect]


@both_start_methods
@pytest.mark.parametrize("way", WAYS)
def test_a_public_address_is_refused_by_name_before_anything_is_sent(way: Any) -> None:
    [wrapped] = call_concurrently(1, way).errors
    assert isinstance(wrapped.error, NetworkError)
    assert wrapped.error.address == f"{PUBLIC}, port 9"
    for word in (f"{PUBLIC}, port 9", "allow_network", "prepare"):
        assert word in str(wrapped.error)


@both_start_methods
def test_this_machine_is_open(port: int) -> None:
    assert list(call_concurrently(1, network.connect, "127.0.0.1", port)) == ["connected"]
    assert list(call_concurrently(1, network.connect, "localhost", port)) == ["connected"]
    assert list(call_concurrently(1, network.aconnect, "127.0.0.1", port)) == ["connected"]


@pytest.mark.django_db(transaction=True)
def test_an_exploration_refuses_public_addresses_too() -> None:
    found = explore((network.connect, {}), (network.connect, {}), check=lambda outcomes: len(outcomes.errors) == 2)
    assert found.verdict != "race"
    refused = explore((network.connect, {}), (network.connect, {}), check=lambda outcomes: not outcomes.errors)
    assert refused.verdict == "race"


OPEN = ["127.0.0.1", "127.8.8.8", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.1.1", "100.64.0.1", "0.0.0.0"]
OPEN_6 = ["::1", "::", "fe80::1%eth0", "fd00::1", "::ffff:10.0.0.1"]
CLOSED = ["203.0.113.1", "192.0.2.1", "198.51.100.7", "172.32.0.1", "11.0.0.1", "2001:db8::1", "::ffff:203.0.113.1"]


@pytest.mark.parametrize(
    ("host", "is_open"), [(host, True) for host in OPEN + OPEN_6] + [(host, False) for host in CLOSED]
)
def test_private_addresses_are_open_and_all_others_are_not(host: str, is_open: bool) -> None:
    assert _allows(Reach(), host) is is_open


@pytest.mark.parametrize("allowed", ["203.0.113.1", "203.0.113.0/24", "example.org"])
def test_what_the_test_allows_is_open(allowed: str) -> None:
    access = Reach.capture([allowed])
    host = "example.org" if allowed == "example.org" else PUBLIC
    assert _allows(access, host)
    assert not _allows(access, "198.51.100.7")


def test_a_name_that_is_allowed_opens_its_addresses() -> None:
    with mock.patch("_socket.getaddrinfo", return_value=[(socket.AF_INET, 0, 0, "", (PUBLIC, 0))]):
        assert _allows(Reach.capture(["pay.example.org"]), PUBLIC)
        assert not _allows(Reach.capture(["pay.example.org"]), "198.51.100.7")


def test_the_projects_own_databases_and_caches_are_open_wherever_they_are() -> None:
    assert _allows(Reach(), PUBLIC, own=[(PUBLIC, 5432)])
    assert not _allows(Reach(), PUBLIC, own=[(PUBLIC, 443)])
    assert _allows(Reach(banned=True), "127.0.0.1", own=[("127.0.0.1", None)])


@pytest.mark.parametrize(
    ("location", "places"),
    [
        ("redis://user:secret@cache.example.org:6379/1", {("cache.example.org", 6379)}),
        ("10.0.0.1:11211", {("10.0.0.1", 11211)}),
        ("unix:/tmp/memcached.sock", {("/tmp/memcached.sock", None)}),
        ("unix:///tmp/redis.sock?db=1", {("/tmp/redis.sock", None)}),
        ("unique-snowflake", set()),
        ("/var/tmp/django_cache", set()),
    ],
)
def test_the_place_of_a_cache_is_read_from_its_location(location: str, places: set[Any]) -> None:
    assert _places_of(location) == places


def _allows(access: Reach, host: str, own: list[tuple[str, int | None]] | None = None) -> bool:
    return _Guard(access, lambda: own or [])._is_allowed(host, 5432)


def test_the_option_is_checked_and_can_come_from_the_environment() -> None:
    from aioconcurrent.running.options import current_options

    with override_environment(AIOCONCURRENT_ALLOW_NETWORK="pay.example.org, 10.0.0.0/8"):
        assert current_options().allow_network == ["pay.example.org", "10.0.0.0/8"]
    with override_environment(AIOCONCURRENT_ALLOW_NETWORK="1"):
        assert current_options().allow_network is True
    with pytest.raises(TypeError, match="allow_network must be True, False or a list"):
        options(allow_network="pay.example.org")


def test_with_the_option_no_call_is_looked_at() -> None:
    with options(allow_network=True):
        assert list(call_concurrently(1, _is_guarded)) == [False]
    assert list(call_concurrently(1, _is_guarded)) == [True]


def _is_guarded() -> bool:
    """Ask with an event of the hook's own that no connection makes."""
    import sys

    class Link:
        family = socket.AF_INET

        def close(self) -> None: ...

    try:
        sys.audit("socket.connect", Link(), (PUBLIC, 9))
    except NetworkError:
        return True
    return False


def test_a_ban_of_pytest_socket_holds_in_the_calls(port: int, tmp_path: Path) -> None:
    import pytest_socket

    path = str(tmp_path / "server")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        pytest_socket.disable_socket(allow_unix_socket=True)
        try:
            [wrapped] = call_concurrently(1, network.connect, "127.0.0.1", port).errors
            assert list(call_concurrently(1, network.connect_locally, path)) == ["connected"]
        finally:
            pytest_socket.enable_socket()
    assert isinstance(wrapped.error, NetworkError)
    assert "pytest-socket" in str(wrapped.error)


def test_hosts_that_pytest_socket_allows_are_open_and_no_others(port: int) -> None:
    import pytest_socket

    pytest_socket.socket_allow_hosts(["127.0.0.2"], allow_unix_socket=True)
    try:
        [wrapped] = call_concurrently(1, network.connect, "127.0.0.1", port).errors
        [other] = call_concurrently(1, network.connect, "127.0.0.2", port).errors  # where nobody listens
    finally:
        pytest_socket._remove_restrictions()
    assert isinstance(wrapped.error, NetworkError)
    assert isinstance(other.error, ConnectionRefusedError)


def test_a_connection_that_is_refused_leaves_no_open_socket() -> None:
    assert list(call_concurrently(1, _count_descriptors)) == [0]


def _count_descriptors() -> int:
    before = set(Path("/proc/self/fd").iterdir())
    held = []
    for _ in range(5):
        try:
            network.connect()
        except NetworkError as error:
            held.append(error)  # and with it the frames that hold the sockets
    return len(set(Path("/proc/self/fd").iterdir())) - len(before)
