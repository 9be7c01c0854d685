"""Fixtures of the stories."""

from pathlib import Path

import pytest

from simulators.device import DeviceStub
from tests.attacks.stage import set_stage


@pytest.fixture
def device(tmp_path: Path) -> DeviceStub:
    """A device that runs version 1, in a repository that has version 2 as well."""
    return set_stage(tmp_path / "device")
