"""A version arrives over every network that lets bytes through, and takes hardly more than its bytes."""

import statistics
from pathlib import Path
from typing import Final

import pytest

from tests.system.network_cases import (
    DEAREST,
    IN_TESTS,
    SLOWEST,
    cases,
    from_full,
    https_cases,
    over_https,
    over_mqtt,
)
from tests.system.transfers import Compared

BEGINNING_S: Final = 1.5
"""What a transfer of a few seconds may take beside: connecting again, and the first question."""

SEEDS: Final = 3
"""Of one transfer over a network: the middle one counts.

In a test a blob is one chunk or some. Where one packet in five is lost, TCP now and then stalls for longer
than the patience with a chunk, which then comes twice: one such transfer in some hundreds says nothing.
"""

FULL_BYTES: Final = 1024 * 1024
FULL_S: Final = 3.0
MQTT: Final = cases(IN_TESTS)
WORST: Final = "loss_20"
HTTPS: Final = https_cases(IN_TESTS)


def check(name: str, found: Compared) -> None:
    """The transfer has ended within the bytes and the time that are allowed."""
    show(name, found)
    if found.kind == "path":
        assert found.bytes_ratio <= DEAREST
    # The slowest bare stream: in a few seconds a lost packet more or less is most of the time.
    assert found.took.seconds <= SLOWEST * max(found.bare) + BEGINNING_S


def show(name: str, found: Compared) -> None:
    """Print what a transfer took."""
    print(
        f"{name} over a {found.kind}: {found.took.seconds:.1f} s, bare TCP {found.allowed_s:.1f} s "
        f"({', '.join(f'{second:.1f}' for second in found.bare)}), bytes x {found.bytes_ratio:.2f}, "
        f"{found.took.tries} tries"
    )


@pytest.mark.parametrize("name", [name for name in MQTT if name != WORST])
def test_it_arrives_over_mqtt(name: str, tmp_path: Path) -> None:
    """Over each network a blob arrives by MQTT within its bytes and its time."""
    check(name, over_mqtt(MQTT[name], tmp_path))


def test_it_arrives_where_a_fifth_of_all_packets_is_lost(tmp_path: Path) -> None:
    """Of three transfers over the worst network the middle ones keep bytes and time."""
    found = [over_mqtt(MQTT[WORST], tmp_path / str(seed), seed) for seed in range(1, SEEDS + 1)]
    for each in found:
        show(WORST, each)
    if found[0].kind == "path":
        assert statistics.median(each.bytes_ratio for each in found) <= DEAREST
    slowest = max(second for each in found for second in each.bare)
    assert statistics.median(each.took.seconds for each in found) <= SLOWEST * slowest + BEGINNING_S


@pytest.mark.parametrize("name", HTTPS)
def test_it_arrives_over_https(name: str, tmp_path: Path) -> None:
    """Over a network that loses packets, and over one that is cut, a blob arrives by HTTPS."""
    check(name, over_https(HTTPS[name], tmp_path))


@pytest.mark.mosquitto
def test_it_arrives_from_a_broker_whose_disk_is_full(tmp_path: Path) -> None:
    """What was retained before the disk became full is still given out, to devices that connect after."""
    check("full mosquitto", from_full("mosquitto", FULL_BYTES, tmp_path))


def test_a_device_waits_for_a_broker_that_needs_its_disk(tmp_path: Path) -> None:
    """NATS keeps sessions on its disk and serves nobody while that is full; with room again all arrives."""
    found = from_full("nats", FULL_BYTES, tmp_path, room_after_s=FULL_S)
    print(f"full nats: {found.took.seconds:.1f} s, {found.took.tries} tries, bytes x {found.bytes_ratio:.2f}")
    assert found.took.seconds >= FULL_S
    assert found.took.fetched >= FULL_BYTES
