"""One contract for both kinds of network link, and what the path loses for certain."""

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from simulators.network.conditions import Conditions
from simulators.network.link import NetworkLink
from simulators.network.path import is_possible
from tests.system.transfers import streaming

HANG_S = 60.0
QUIET_S = 0.5


@pytest.fixture(params=["path", "proxy"])
def link(request: pytest.FixtureRequest) -> Iterator[NetworkLink]:
    """Each kind in turn; the path needs the right to make network namespaces."""
    if request.param == "path" and not is_possible():
        pytest.skip("this account may not make network namespaces and TUN devices")
    with streaming() as server, NetworkLink(*server, proxy=request.param == "proxy") as made:
        yield made


def ask(link: NetworkLink, length: int) -> socket.socket:
    """A connection on which ``length`` bytes are on their way."""
    stream = socket.create_connection((link.host, link.port), timeout=HANG_S)
    stream.sendall(length.to_bytes(8))
    return stream


def count(stream: socket.socket) -> int:
    """Bytes until the end."""
    total = 0
    while data := stream.recv(65536):
        total += len(data)
    return total


@pytest.mark.parametrize("loss", [0.0, 0.05, 0.2])
def test_every_byte_arrives_whatever_is_lost(link: NetworkLink, loss: float) -> None:
    """Packets are lost, bytes of a stream are not; what was carried is more than them, headers included."""
    link.change(Conditions(loss=loss))
    with ask(link, 200_000) as stream:
        assert count(stream) == 200_000
    assert link.carried() > 200_000


def test_a_slow_network_is_slow(link: NetworkLink) -> None:
    """Bytes come no faster than the rate, but for what a queue holds."""
    link.change(Conditions(bytes_per_second=100_000))
    began = time.monotonic()
    with ask(link, 200_000) as stream:
        assert count(stream) == 200_000
    assert time.monotonic() - began > 1.5


def test_a_delay_is_paid_both_ways(link: NetworkLink) -> None:
    """The first byte comes after the way there and the way back."""
    link.change(Conditions(delay_s=0.2))
    began = time.monotonic()
    with ask(link, 10) as stream:
        assert count(stream) == 10
    assert time.monotonic() - began >= 0.4


def test_a_cut_is_silent_and_heals(link: NetworkLink) -> None:
    """While the network is cut nothing comes and nothing ends; afterwards everything does."""
    link.change(Conditions(bytes_per_second=200_000))
    with ask(link, 300_000) as stream:
        got = len(stream.recv(65536))
        link.cut()
        stream.settimeout(QUIET_S)
        try:
            while data := stream.recv(65536):  # what was on its way
                got += len(data)
            pytest.fail("the stream ended in a cut network")
        except TimeoutError:
            assert got < 300_000
        link.heal()
        stream.settimeout(HANG_S)
        assert got + count(stream) == 300_000


def test_a_reset_ends_connections(link: NetworkLink) -> None:
    """A connection that stood ends, and the next one is served."""
    link.change(Conditions(bytes_per_second=50_000))
    with ask(link, 500_000) as stream:
        assert stream.recv(1)
        link.reset()
        with contextlib.suppress(ConnectionResetError):
            assert count(stream) < 500_000
    link.change(Conditions())
    with ask(link, 1000) as stream:
        assert count(stream) == 1000
