"""The agent's configuration: one TOML file, read once, frozen; ``configuration`` reads and verifies it.

Example::

    device = "press-7"
    target = "x86_64-ort-cpu"
    data = "/var/lib/edgewright"
    door = "https://plant.example:8443"

    [tags]
    site = "lyon"

    [broker]
    host = "plant.example"
    port = 8883
"""

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from edgewright.wire.handshake import CpuFeature

FILE_NAME: Final = "agent.toml"

AUTO: Final = "auto"
"""Where a device enrols: the best target that fits it. What that comes to stands in the configuration."""

MAX_MB: Final = 2**30
"""Of any store; no disk is larger, and its bytes fit into 64 bits."""


class BrokerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the MQTT broker answers.

    Attributes:
        host: name or address; the broker's certificate has to be made out to it.
        port: its port.
        tls: whether to speak TLS and to show this device's certificate; without it only on this machine.
    """

    host: Annotated[str, msgspec.Meta(min_length=1)]
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    tls: bool = True


class LineSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The line.

    Attributes:
        window_seconds: length of a telemetry window.
        capture_share: share of the frames that the random audit captures.
    """

    window_seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 5.0
    capture_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.01


Part = Annotated[float, msgspec.Meta(ge=0, le=1)]


class MaskSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rectangle that nobody shall see. Each ``[[capture.masks]]`` is one.

    Attributes:
        x, y: left upper corner, parts of the picture's width and height.
        width, height: likewise.
        how: ``fill`` makes it black; ``mosaic`` leaves eight by eight mean colours, which a small face may
            still be known by.
    """

    x: Part
    y: Part
    width: Part
    height: Part
    how: Literal["fill", "mosaic"] = "fill"


class CaptureSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Captured frames, beside the random ones of ``line.capture_share``.

    Where that share is 0, only frames are captured on which a candidate for the next version disagrees.

    Attributes:
        bytes_per_second: pictures may take, on the average of a minute; 0 captures nothing at all.
        day_mb: pictures may take in any 24 hours, over restarts, MiB; 0 for no limit.
        uncertain_share: of the frames that the model was unsure of.
        novel_share: of the frames that resemble none of the last few thousand; 0 does not look for them.
        undecided_share: of the frames that no model decided.
        duplicate_difference: root mean square difference up to which two pictures of a label are nearly the
            same, grey levels of 255; of such hard cases one is captured.
        wait_seconds: a captured frame waits so long for the truth of its item, then it goes up without; 128
            frames and 32 MiB at most wait.
        masks: rectangles that are made unreadable before a picture is kept.
        redactor: the site's own Python function that does so, ``package.module:function``; see the how-to.
        redactor_ms: time that it may take for a picture; a frame for which it takes longer is not captured.
    """

    bytes_per_second: Annotated[float, msgspec.Meta(ge=0, le=2**40)] = 200_000.0
    day_mb: Annotated[int, msgspec.Meta(ge=0, le=MAX_MB)] = 1024
    uncertain_share: Part = 0.2
    novel_share: Part = 0.2
    undecided_share: Part = 0.05
    duplicate_difference: Annotated[float, msgspec.Meta(ge=0, le=255)] = 2.0
    wait_seconds: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 120.0
    masks: Annotated[tuple[MaskSettings, ...], msgspec.Meta(max_length=64)] = ()
    redactor: str = ""
    redactor_ms: Annotated[float, msgspec.Meta(gt=0, le=10_000)] = 250.0


class LabelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Truths of items, told late by whoever knows them; ``source.outcomes`` names a topic for them too.

    Attributes:
        http_port: of this machine's loopback, where truths are posted; 0 for none. The token that a caller
            needs is made in the file ``labels.token`` of the data folder.
        csv: folder in which CSV files of truths are looked for; empty for none.
        memory_mb: what remembered decisions may take on the disk, MiB, for truths that come hours later or
            after a restart of the line; 4 are about 100,000 decisions. Nothing is written before the first
            truth was told; 0 remembers the last 20,000 in memory only.
    """

    http_port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    csv: str = ""
    memory_mb: Annotated[int, msgspec.Meta(ge=0, le=256)] = 4


class UpdateSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Fetching and keeping.

    Attributes:
        transport: where chunks come from: the broker, or the controller's HTTPS door by byte ranges.
        window_chunks: most chunks asked for at a time; how many it is follows the measured rate.
        sync_chunks: chunks written between two syncs to flash; the loss at a power cut.
        store_mb: what stored releases may take, MiB.
        free_mb: free space that the store leaves on its disk, MiB.
        outbox_mb: what waiting messages may take, MiB.
        day_mb: what chunks may take from the network in any 24 hours, MiB; 0 for no limit.
        windows: times of day (``22:00-05:00``, device's time zone) in which versions are fetched; empty for
            any time.
        urgent_kb: a version that takes at most so much from the network does not wait for a window, KiB.
        slowest_bytes_per_second: right bytes that come slower than this end a try.
        version_hours: how long fetching one version may take, waiting for windows and network not counted;
            then that is told, and after a pause it goes on.
    """

    transport: Literal["mqtt", "https"] = "mqtt"
    window_chunks: Annotated[int, msgspec.Meta(ge=1, le=64)] = 8
    sync_chunks: Annotated[int, msgspec.Meta(ge=1, le=65536)] = 1
    store_mb: Annotated[int, msgspec.Meta(ge=1, le=MAX_MB)] = 2048
    free_mb: Annotated[int, msgspec.Meta(ge=0, le=MAX_MB)] = 64
    outbox_mb: Annotated[int, msgspec.Meta(ge=1, le=MAX_MB)] = 64
    day_mb: Annotated[int, msgspec.Meta(ge=0, le=MAX_MB)] = 0
    windows: tuple[str, ...] = ()
    urgent_kb: Annotated[int, msgspec.Meta(ge=0, le=MAX_MB)] = 256
    slowest_bytes_per_second: Annotated[int, msgspec.Meta(ge=1, le=2**30)] = 1024
    version_hours: Annotated[float, msgspec.Meta(gt=0, le=8784)] = 24.0


class LocalBrokerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The cell's own MQTT broker, where machines tell and hear; another one than the fleet's. Without TLS.

    Attributes:
        host: name or address.
        port: its port.
    """

    host: Annotated[str, msgspec.Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 1883


class InterlockSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who says that this moment is safe for a change of model.

    Attributes:
        kind: ``frame`` (the cell says it with each frame), ``always``, or a ``topic`` of the cell's broker, a
            ``file`` or a ``gpio`` line's value file that the machine writes.
        place: the topic or the path.
        safe: what stands there while it is safe.
    """

    kind: Literal["frame", "always", "topic", "file", "gpio"] = "frame"
    place: str = ""
    safe: str = "1"


RuntimeKey = Annotated[str, msgspec.Meta(pattern=r"^(onnxruntime|litert|tflite-runtime)(/\w+)?$")]
"""A runtime, or one of its execution providers."""


class RuntimeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Inference runtimes of this device.

    Attributes:
        environments: Python interpreters, with their whole path, of environments of their own, by runtime
            (``tflite-runtime``) or by runtime and execution provider
            (``onnxruntime/OpenVINOExecutionProvider``).
        threads: of an inference; 0 lets the device choose by measurement, and leaves a core to the line. A
            change counts from the next version on: a model decides as it was qualified.
    """

    environments: dict[RuntimeKey, Annotated[str, msgspec.Meta(pattern="^/")]] = {}
    threads: Annotated[int, msgspec.Meta(ge=0, le=64)] = 0


class MachineSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What this device says that it is, where the agent cannot find it out: emulators, closed containers.

    The controller takes it as a hint: it lists devices by it, and leaves out of a rollout what cannot fit.

    Attributes:
        architecture: as ``platform.machine()`` spells it; empty for what is found.
        cpu: processor features; empty for what is found.
        memory_mb: MiB; 0 for what is found.
    """

    architecture: Annotated[str, msgspec.Meta(max_length=32)] = ""
    cpu: Annotated[tuple[CpuFeature, ...], msgspec.Meta(max_length=16)] = ()
    memory_mb: Annotated[int, msgspec.Meta(ge=0, le=MAX_MB)] = 0


class QualificationSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Measuring candidates that the controller sends, before they are released.

    Attributes:
        accept: whether this device takes part. Candidates carry the director's signature alone, so it is off
            until somebody at the device turns it on.
        seconds: most that one candidate's trial may take.
        memory_mb: most that its process may take, MiB.
        day_minutes: most that all trials may take in any day.
    """

    accept: bool = False
    seconds: Annotated[float, msgspec.Meta(gt=0, le=1800)] = 300.0
    memory_mb: Annotated[int, msgspec.Meta(ge=64, le=MAX_MB)] = 1024
    day_minutes: Annotated[float, msgspec.Meta(gt=0, le=1440)] = 60.0


class SourceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where frames come from, and when a picture counts as wrong.

    Attributes:
        kind: ``socket`` waits for a machine at the cell socket; all others are read by the agent's own cell.
        place: a camera's number or device, an rtsp source's address, a path, or an exact topic.
        width, height: what the picture has to measure, pixels, and what a camera is asked for; 0 takes any.
        frames_per_second: pace of a folder or video, and what a camera is asked for; 0 for a video's or
            camera's own, and for a folder as fast as the line decides.
        deadline_ms: time for the decision on each frame; a cell that waits much longer counts as hanging.
        repeat: whether a folder or video begins again at its end. Without it a folder is watched for new
            files.
        outcomes: topic of the cell's broker on which truths come, ``{"item": "7", "truth": "Bag"}``; empty
            for none.
        lost_intervals: expected intervals without a picture after which the source is lost, 2 s at least; 0
            never. A topic has no expected interval unless ``frames_per_second`` says it; a folder has none.
        frozen_frames: equal pictures in a row that are a frozen one; 0 for none. More than the frames between
            two key frames of a network camera's stream.
        frozen_difference: mean absolute difference up to which two pictures are equal, grey levels of 255; 0
            for the same bytes.
        even_deviation: standard deviation up to which a picture is of one colour, grey levels; 0 lets black
            and even pictures pass.
    """

    kind: Literal["socket", "camera", "rtsp", "video", "folder", "topic"] = "socket"
    place: str = ""
    width: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    height: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    frames_per_second: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 0.0
    deadline_ms: Annotated[float, msgspec.Meta(gt=0, le=10_000)] = 100.0
    repeat: bool = False
    outcomes: str = ""
    lost_intervals: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 10
    frozen_frames: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 150
    frozen_difference: Annotated[float, msgspec.Meta(ge=0, le=255)] = 0.0
    even_deviation: Annotated[float, msgspec.Meta(ge=0, le=255)] = 2.0


class SinkSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where decisions on an own source's frames go. Each ``[[sinks]]`` is one.

    Attributes:
        kind: a ``topic`` of the cell's broker, a ``file`` of JSON lines, or a Python ``callback``.
        place: topic, path, or ``package.module:function``.
        waiting: decisions that wait for a slow sink; one more drops the oldest, and drops are counted.
        file_mb: size at which a file is put aside and a new one begun, MiB.
        files: how many are kept, the open one included.
    """

    kind: Literal["topic", "file", "callback"]
    place: Annotated[str, msgspec.Meta(min_length=1)]
    waiting: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1000
    file_mb: Annotated[float, msgspec.Meta(gt=0, le=MAX_MB)] = 16.0
    files: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 4


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings.

    Attributes:
        device: this device's id.
        target: device target, what models are compiled for.
        data: folder of everything that the agent keeps.
        door: the controller's HTTPS address, where the certificate is renewed.
        tags: what the fleet's selectors match.
    """

    device: str
    target: Annotated[str, msgspec.Meta(min_length=1)]
    data: str
    broker: BrokerSettings
    door: str = ""
    tags: dict[str, str] = {}
    line: LineSettings = LineSettings()
    capture: CaptureSettings = CaptureSettings()
    labels: LabelSettings = LabelSettings()
    update: UpdateSettings = UpdateSettings()
    local_broker: LocalBrokerSettings = LocalBrokerSettings()
    interlock: InterlockSettings = InterlockSettings()
    runtime: RuntimeSettings = RuntimeSettings()
    machine: MachineSettings = MachineSettings()
    qualification: QualificationSettings = QualificationSettings()
    source: SourceSettings = SourceSettings()
    sinks: tuple[SinkSettings, ...] = ()

    @property
    def folder(self) -> Path:
        """The data folder."""
        return Path(self.data)

    @property
    def samples(self) -> Path:
        """Pictures of captured frames that wait for the controller."""
        return self.folder / "samples"

    @property
    def cell_socket(self) -> Path:
        """Where the cell (robot, camera, scanner) connects."""
        return self.folder / "cell.sock"

    @property
    def hand_socket(self) -> Path:
        """Where a person at the device gives orders."""
        return self.folder / "hand.sock"

    @property
    def line_socket(self) -> Path:
        """Where the line listens for its supervisor."""
        return self.folder / "line.sock"

    @property
    def image_root(self) -> Path:
        """Enrolled root of the image repository."""
        return self.folder / "trust" / "root.json"

    @property
    def director_root(self) -> Path:
        """Enrolled root of the director."""
        return self.folder / "trust" / "director-root.json"

    @property
    def database(self) -> Path:
        """Journal and outbox."""
        return self.folder / "agent.db"
