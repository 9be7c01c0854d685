"""Memory and artifacts: a blob comes into the store in two MiB, whatever its size."""

from pathlib import Path

import pytest

from tests.benchmarks.blob_memory import measure

PEAK_KIB = 2048
MIB = 16


@pytest.mark.parametrize("way", ["chunks", "patch"])
def test_a_blob_comes_in_two_mebibytes(way: str, tmp_path: Path) -> None:
    """While a blob comes, by chunks or by a patch, the process is at most 2 MiB larger than before."""
    assert measure(way, MIB, tmp_path / "store") <= PEAK_KIB
