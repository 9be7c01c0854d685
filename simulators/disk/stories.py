"""What a device does while the power may go: each story is its own small fleet, and one life of a device.

``before`` brings the folder into a state, all of which is durable; ``during`` is recorded. Both run the real
parts of ``DeviceStub``. A story's artifacts are some chunks of random bytes, and each has one known digest.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from edgewright.agent.breakers import STABLE_SECONDS
from edgewright.agent.work import Noted
from edgewright.controller.compiler.patches import encode_patch
from edgewright.wire import topics
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.deployment import State
from edgewright.wire.errors import RebootLoopError, UnexpectedError
from edgewright.wire.manifest import CHUNK_BYTES
from simulators.device import DeviceStub
from simulators.releases import GOLDEN, make_manifest, random_artifact
from simulators.repository import RepositorySimulator

ARTIFACT_BYTES: Final = 2 * CHUNK_BYTES + 40_000
"""Two whole chunks and a part."""

MAX_ROUNDS: Final = 12
"""Looks at the topics that a device may take to reach its version."""


class Promise(msgspec.Struct, frozen=True):
    """What a device had written down when a step was over: no power cut may take it back.

    Attributes:
        assignment: version of the newest accepted one.
        floors: release counter by model.
        next_seq: number of the next message to the controller; a repeated number loses a message.
        decides: whether a model decides.
    """

    assignment: int
    floors: dict[str, int]
    next_seq: int
    decides: bool


class Device(DeviceStub):
    """A device whose worker waits: work is done when the story says so."""

    def settle(self) -> None:
        """Let the line answer, and no more."""
        while self.line.answers:
            self.step()


class Stage:
    """A fleet of one device, whose lives follow each other over one folder.

    Args:
        folder: the device's data.

    Attributes:
        simulator: the controller and the broker.
        artifacts: versions by the digest of their artifact.
        tell: called with the device's promise after each step.
        now: monotonic time of the device, seconds.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.simulator = RepositorySimulator()
        self.artifacts: dict[str, int] = {}
        self.tell: Callable[[Promise], None] = lambda _promise: None
        self.now = 0.0
        self._paths: dict[int, str] = {}
        self._last = b""
        self.device: Device

    def release(self, version: int) -> None:
        """Sign and publish a version with an artifact of its own."""
        self._last = random_artifact(version, ARTIFACT_BYTES)
        self._publish(version, ())

    def release_near(self, version: int) -> None:
        """The same, but half of its artifact is the last one's: its patch takes more than one chunk."""
        half = len(self._last) // 2
        old, self._last = self._last, self._last[:half] + random_artifact(version, len(self._last) - half)
        self._publish(version, ((old, encode_patch(old, self._last)),))

    def _publish(self, version: int, patches: tuple[tuple[bytes, bytes], ...]) -> None:
        manifest = make_manifest(version, self._last, patches)
        blobs = (self._last, GOLDEN, *(patch for _, patch in patches))
        self._paths[version] = self.simulator.release(manifest, *blobs)
        self.artifacts[manifest.artifact.sha256] = version

    def assign(self, version: int) -> None:
        """Order a version."""
        self.simulator.assign(self._paths[version])

    def start(self) -> None:
        """Start a device over the folder."""
        self.device = Device(self.simulator, self.folder, monotonic=lambda: self.now)
        self.device.start()
        self.device.wait()  # A first model may be loaded later; see ``breakers``.
        self.tell(promise(self.device))

    def read(self) -> None:
        """Let the device hear of everything, and work to its end, a step at a time."""
        retained = self.simulator.topics.retained
        self.device.deployer.timestamp(retained[topics.timestamp()])
        if raw := retained.get(topics.assignment(self.device.device)):
            self.device.deployer.document(raw)
        while self.device.jobs or self.device.line.answers:
            self.device.step()
            self.tell(promise(self.device))

    def reaches_its_version(self) -> bool:
        """Let the device work until it has committed what it is assigned; False where it does not."""
        for _ in range(MAX_ROUNDS):
            self.read()
            newest = self.device.latest
            if newest.state is State.COMMITTED and newest.assignment.version == self.assigned:
                return True
            self.device.wait()
        return False

    def went_back(self) -> bool:
        """Whether a reboot loop ended the newest deployment, and a model decides."""
        newest = self.device.latest
        return newest.error == RebootLoopError.number and self.device.running_artifact is not None

    @property
    def assigned(self) -> int:
        """Version of the newest assignment document."""
        return self.simulator.assignment_version

    def stop(self) -> None:
        """Let the model's first minutes pass, and end the device in order."""
        self.now += 2 * STABLE_SECONDS
        self.device.deployer.watch()
        self.device.stop()


def promise(device: DeviceStub) -> Promise:
    """What a device has written down by now."""
    active = device.journal.device().active
    held = device.journal.slots()[active] if active else None
    (next_seq,) = device.journal._database.connection.execute(  # noqa: SLF001 - a look, not an act
        "SELECT next_seq FROM outbox"
    ).fetchone()
    return Promise(
        device.journal.device().version,
        device.journal.floors(),
        next_seq,
        held is not None,
    )


class Story(NamedTuple):
    """One story."""

    name: str
    before: Callable[[Stage], None]
    during: Callable[[Stage], None]


def _nothing(stage: Stage) -> None:
    stage.release(1)
    stage.assign(1)


def _runs_one(stage: Stage) -> None:
    _nothing(stage)
    stage.start()
    stage.read()
    stage.stop()


def _runs_two(stage: Stage) -> None:
    _runs_one(stage)
    stage.release(2)
    stage.assign(2)
    stage.start()
    stage.read()
    stage.stop()


def _first_contact(stage: Stage) -> None:
    stage.start()
    stage.read()
    stage.stop()


def _update(stage: Stage) -> None:
    stage.release(2)
    stage.assign(2)
    _first_contact(stage)


def _update_by_patch(stage: Stage) -> None:
    stage.release_near(2)
    stage.assign(2)
    _first_contact(stage)


def _third_version(stage: Stage) -> None:
    """The files of the first are collected."""
    stage.release(3)
    stage.assign(3)
    _first_contact(stage)


def _superseded(stage: Stage) -> None:
    """A version whose chunks stop coming, and a newer one."""
    stage.release(2)
    stage.assign(2)
    lost = sha256_hex(random_artifact(2, ARTIFACT_BYTES)[CHUNK_BYTES : 2 * CHUNK_BYTES])
    stage.simulator.topics.publish(topics.chunk(lost), b"")
    stage.start()
    stage.read()
    stage.release(3)
    stage.assign(3)
    stage.read()
    stage.stop()


def _new_keys(stage: Stage) -> None:
    stage.simulator.rotate_root()
    stage.simulator.rotate_director()
    stage.simulator.rotate_keys("timestamp", "snapshot")
    _update(stage)


def _model_breaks(stage: Stage) -> None:
    """The line gives the active model up: the one before decides, and the next version comes."""
    stage.start()
    stage.device.line.break_active()
    stage.read()
    stage.release(3)
    stage.assign(3)
    stage.read()
    stage.stop()


def _full_outbox(stage: Stage) -> None:
    """So many messages wait that the database's log is worked into its file meanwhile."""
    stage.start()
    for number in range(60):
        said = UnexpectedError(f"{number:04d}" * 1000)
        stage.device.deployer.told(Noted(stage.device.latest.id, said))
        if number % 20 == 0:
            stage.tell(promise(stage.device))
    stage.release(2)
    stage.assign(2)
    stage.read()
    stage.stop()


STORIES: Final = (
    Story("first contact", _nothing, _first_contact),
    Story("update", _runs_one, _update),
    Story("update by patch", _runs_one, _update_by_patch),
    Story("third version", _runs_two, _third_version),
    Story("superseded", _runs_one, _superseded),
    Story("new keys", _runs_one, _new_keys),
    Story("model breaks", _runs_two, _model_breaks),
    Story("full outbox", _runs_one, _full_outbox),
)
