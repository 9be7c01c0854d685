"""The attacker wants the model itself: from the broker, from another device, from a stolen backup."""

from pathlib import Path

import pytest

from edgewright.agent.confidential import ContentKeys, open_blob
from edgewright.agent.devicekey import DeviceKey
from edgewright.controller.confidential.sealing import seal
from edgewright.controller.confidential.wrapping import wrap
from edgewright.wire.assignment import Orders, TargetCustom
from edgewright.wire.encryption import Place, wrapping_info
from edgewright.wire.errors import ConfidentialKeyError
from simulators.releases import random_artifact

ROBOT, OTHER = "robot-1", "robot-2"
PLAIN = b"weights of a secret model " * 8000
CONTENT_KEY = random_artifact(1, 32)
PLACE = Place("m", 1, "t", "artifact")
CUSTOM = TargetCustom("m", "t", 1, 1, confidential=True)


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    """The artifact as the broker, every device's disk and every backup have it; its key opens it."""
    path = tmp_path / "blob"
    path.write_bytes(b"".join(seal(PLAIN, CONTENT_KEY, PLACE)))
    assert open_blob(path, CONTENT_KEY, PLACE) == PLAIN
    return path


def orders_for(key: DeviceKey) -> Orders:
    """What the assignment of ``robot-1`` says."""
    wrapped = wrap(CONTENT_KEY, key.public_der(), wrapping_info("m", 1, ROBOT))
    return Orders(device=ROBOT, issued=0, rollout=0, min_root=1, min_timestamp=1, content_key=wrapped)


def test_confidential_model_read_from_broker_or_backup(blob: Path) -> None:
    """Without the content key nothing of the model can be read, and a wrong key opens nothing."""
    content = blob.read_bytes()
    assert not any(PLAIN[start : start + 8] in content for start in range(26))
    for wrong in (b"", bytes(32)):
        with pytest.raises(ConfidentialKeyError):
            open_blob(blob, wrong, PLACE)


def test_confidential_model_read_by_another_device(blob: Path) -> None:
    """The key in one device's assignment opens for no other device, and not under another name."""
    key, stranger = DeviceKey.generate(), DeviceKey.generate()
    orders = orders_for(key)
    content_key = ContentKeys(ROBOT, lambda: [key]).unwrap(CUSTOM, orders)
    assert open_blob(blob, content_key, PLACE) == PLAIN
    for device, held in ((OTHER, stranger), (ROBOT, stranger), (OTHER, key)):
        with pytest.raises(ConfidentialKeyError, match="not wrapped for this device"):
            ContentKeys(device, lambda held=held: [held]).unwrap(CUSTOM, orders)  # type: ignore[misc]  # bound in the loop


def test_confidential_blob_in_another_place(blob: Path) -> None:
    """A sealed blob in the place of another version's, or of its golden vectors, does not open."""
    for place in (Place("m", 2, "t", "artifact"), Place("m", 1, "t", "golden")):
        with pytest.raises(ConfidentialKeyError):
            open_blob(blob, CONTENT_KEY, place)
