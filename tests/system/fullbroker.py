"""A broker whose disk is full: its folder is a small file system of its own, in memory, that a file fills."""

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.contract.brokers import KINDS, Broker
from tests.system.transfers import publish

FILLER: Final = "filler"
"""The file that takes the room."""

SPARE_BYTES: Final = 16 * 1024 * 1024
"""What a broker's files take beside the chunks, before the disk is filled."""

_MNT_DETACH: Final = 2
_BLOCK: Final = bytes(64 * 1024)
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def full_broker(kind: str, folder: Path, data: bytes) -> Iterator[Broker]:
    """A broker that got a blob before its disk became full, and runs.

    Where this account may not mount, the test is skipped.
    """
    folder.mkdir(parents=True)
    with _small_disk(folder, 2 * len(data) + SPARE_BYTES):
        broker = KINDS[kind](folder)
        broker.start()
        try:
            publish(broker, data)
            fill(folder / FILLER)
            yield broker
        finally:
            broker.crash()


def fill(path: Path) -> None:
    """Write a file until there is no room for another byte."""
    with path.open("wb", buffering=0) as filler:
        for block in (_BLOCK, _BLOCK[:512], _BLOCK[:1]):
            try:
                while filler.write(block):
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


@contextmanager
def _small_disk(folder: Path, size: int) -> Iterator[None]:
    options = f"size={size}".encode()
    if _libc.mount(b"none", os.fsencode(folder), b"tmpfs", 0, options) != 0:
        pytest.skip(f"this account may not mount: {os.strerror(ctypes.get_errno())}")
    try:
        yield
    finally:
        _libc.umount2(os.fsencode(folder), _MNT_DETACH)
