"""model.toml: what an engineer says about a model, read into frozen values.

A model is a folder. ``model.toml`` in it names the ONNX file and the data beside it, and declares everything
that the network itself does not: labels, preprocessing, targets, gates, limits. Nothing is guessed: an entry
that is unknown, missing or wrong is refused by name. All paths are relative to the folder and stay in it.
An artifact may have 240 MB, so an ONNX file may have 960 MB where int8 passes the gates, else 240 MB; beyond
that a push, or at the latest its build, is refused (E078).

A model whose inputs are tensors has a model.toml of another form; see ``model_tensors``.

The reference of all entries is docs/reference/model-toml.md.
"""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, Literal

import msgspec
import tomli_w

from edgewright.controller.errors import LineModelError, ModelTomlError, NotAModelError
from edgewright.wire.manifest import Limits, Preprocessing, Tensor

FILE_NAME: Final = "model.toml"
CARD_NAME: Final = "README.md"

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?")
_RESERVED: Final = frozenset({"root", "targets", "snapshot", "timestamp"})
"""Each model has a TUF role of its own name, and these four are TUF's."""

Precision = Literal["int8", "mixed", "fp16", "fp32"]


class ModelPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the model is.

    Attributes:
        name: 1 to 64 small letters, digits and inner hyphens; topics and signed paths carry it.
        file: the ONNX file, weights included.
        licence: of the weights, as an SPDX expression, and of what they were trained on, for example
            `Apache-2.0; trained on Fashion-MNIST, MIT`; see `[licence]`.
        labels: classes in the output's order, at least two.
        fallback: the decision for a frame that no runner decides in time; it need not be a label.
    """

    name: str
    file: str
    licence: str
    labels: tuple[str, ...]
    fallback: str


class OutputPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The model's output: one row of logits, float32.

    Attributes:
        name: of the output that carries one logit a label.
    """

    name: str


class DataPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Files of labelled camera frames: NumPy ``.npz`` without pickled objects.

    Each has ``labels`` (text, one a frame) and either ``frames`` (uint8, n x height x width x 3, BGR) or
    ``jpeg`` (uint8, JPEG or PNG pictures end to end) with ``ends`` (integers, where each picture ends).

    Attributes:
        calibration: frames that show the int8 quantisation which ranges occur; at most 512 are used.
        holdout: frames that the model never saw; gates and reference profile are measured on them.
        replay: frames that a rebuild mixes with the fresh ones, empty for none; may be ``calibration``.
    """

    calibration: str
    holdout: str
    replay: str = ""


class GatesPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a compiled candidate has to hold against fp32 on the holdout frames.

    Attributes:
        top1_agreement: smallest share of holdout frames with the same decision.
        logit_error: largest relative error of the logits (root of the mean square).
        per_class_loss: largest loss of accuracy in any class, by its upper 95 % confidence bound; classes
            with fewer than 30 frames are judged together.
        latency_ratio: largest median latency relative to fp32 on the same runtime.
        size_ratio: largest size relative to fp32's.
        accuracy: smallest share of labelled holdout frames that fp32 decides rightly, 0 for none; below it
            nothing is compiled.
        precisions: which candidates may ship at all.
        qualify_minutes: how long a version waits for devices that measure its candidates before it is
            released; 0 does not ask them. Without an answer it goes on as it is.
    """

    top1_agreement: float = 0.98
    logit_error: float = 0.1
    per_class_loss: float = 0.1
    latency_ratio: float = 1.0
    size_ratio: float = 1.0
    accuracy: float = 0.0
    precisions: tuple[Precision, ...] = ("int8", "mixed", "fp16", "fp32")
    qualify_minutes: Annotated[float, msgspec.Meta(ge=0, le=1200)] = 0.0


class DriftPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long between false alarms, and how much harm counts.

    Attributes:
        average_run_length: windows between two false alarms, on average.
        harm_tolerance: rise of the error rate that is harm, absolute.
        price_per_mistake: what one wrong decision costs, in ``currency``; 0 where nobody has said it.
        currency: of that price, as it stands behind a number, such as ``EUR``.
    """

    average_run_length: float = 100_000.0
    harm_tolerance: float = 0.02
    price_per_mistake: float = 0.0
    currency: Annotated[str, msgspec.Meta(max_length=16)] = ""


MOST_SAMPLES: Final = 2000
"""Labelled frames of one rebuild, the newest of them: it has to be done within a minute."""


class RebuildPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a new version is made from fresh frames, what asks for one, and when a person has to approve it.

    Attributes:
        recipe: Python file with the recipe, empty where the model cannot be rebuilt.
        ladder: rungs of the recipe, cheapest first.
        cooldown_s: seconds after a rebuild before the next one begins; a person who asks does not wait.
        minimum_samples: labelled fresh frames that a rebuild needs, at most 2000.
        automatic: whether an alarm starts one by itself.
        schedule: when one is asked for by the clock, as five cron fields in UTC, for example `0 3 * * 1`;
            empty for never.
        new_samples: newly labelled frames that ask for one, since the running version was made; 0 for never.
        on_recipe_change: whether a push that changes nothing but the recipe or `[rebuild]` asks for one.
        most_per_day: rebuilds that may begin within 24 hours; harm has as many of its own, and those that a
            person asks for come on top.
        approval: who lets a new version go to the line: nobody (`automatic`) as long as it stays within the
            limits below, or always a person.
        approval_hours: how long a rebuild waits for a person; then it is given up.
        most_new_labels: new classes beyond which a person has to approve.
        minimum_audited: frames that a person has labelled among those that judge; with fewer, the gain has
            to exceed `unaudited_margin`, or a person has to approve.
        unaudited_margin: gain in accuracy that is not enough where too few audited frames judge, absolute.
        most_device_share: largest share of the frames to learn from that one of several devices supplies; of
            those that judge it is one half at most. 1 for no limit to either.
    """

    recipe: str = ""
    ladder: tuple[str, ...] = ()
    cooldown_s: float = 600.0
    minimum_samples: int = 200
    automatic: bool = False
    schedule: str = ""
    new_samples: int = 0
    on_recipe_change: bool = False
    most_per_day: int = 6
    approval: Literal["automatic", "person"] = "automatic"
    approval_hours: float = 72.0
    most_new_labels: int = 2
    minimum_audited: int = 60
    unaudited_margin: float = 0.05
    most_device_share: float = 0.6


class ConfidentialPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether the model is a secret.

    Attributes:
        enabled: artifacts are stored and published encrypted, under a key of each version that is wrapped for
            each device that is assigned it; they travel whole, because there are no patches of them.
    """

    enabled: bool = False


PERMISSIVE: Final = (
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC-BY-3.0",
    "CC-BY-4.0",
    "CC0-1.0",
    "CDLA-Permissive-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "ODC-By-1.0",
    "PDDL-1.0",
    "Unlicense",
    "Zlib",
)


class LicencePart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which licences a model and its parts may have; SPDX names and expressions.

    Attributes:
        allow: licences that may ship; the default are those that ask for little more than to be named.
        parts: licences of what the model was made from, by its name, beside those in `[model] licence`.
        unknown: what follows where a licence is not stated or is no SPDX expression.
    """

    allow: tuple[str, ...] = PERMISSIVE
    parts: dict[str, str] = {}
    unknown: Literal["refuse", "warn"] = "refuse"


class ModelSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of model.toml; the parts are its tables.

    Attributes:
        targets: device targets to compile for, as `edgewright targets` lists them.
    """

    model: ModelPart
    input: Tensor
    preprocessing: Preprocessing
    output: OutputPart
    data: DataPart
    limits: Limits
    targets: tuple[str, ...]
    gates: GatesPart = GatesPart()
    drift: DriftPart = DriftPart()
    rebuild: RebuildPart = RebuildPart()
    confidential: ConfidentialPart = ConfidentialPart()
    licence: LicencePart = LicencePart()

    @property
    def output_tensor(self) -> Tensor:
        """The output as the manifest declares it: one row of logits."""
        return Tensor(self.output.name, "float32", (1, len(self.model.labels)))


def locate_model(path: Path) -> Path:
    """The model folder that a person meant by a folder, its model.toml or its ONNX file.

    Raises:
        NotAModelError: there is no model.toml at that place.
    """
    folder = path if path.is_dir() else path.parent
    if not path.exists():
        raise NotAModelError(f"There is no file or folder {path}.")
    if not (folder / FILE_NAME).is_file():
        raise NotAModelError(f"{path.name} has no {FILE_NAME} beside it, which declares labels and targets.")
    if path.is_file() and path.name != FILE_NAME:
        named = read_model(folder).model.file
        if path.resolve() != (folder / named).resolve():
            raise NotAModelError(f"The {FILE_NAME} beside {path.name} names {named} as its model.")
    return folder


def read_model(folder: Path) -> ModelSpec:
    """Read a model folder's model.toml and check that the files it names are there.

    Raises:
        ModelTomlError: the file is missing or wrong; the sentence names the entry.
        LineModelError: it describes a model of tensors.
    """
    try:
        text = (folder / FILE_NAME).read_bytes()
    except OSError as error:
        raise ModelTomlError(f"{FILE_NAME} cannot be read: {error.strerror}.") from error
    spec = parse_model(text)
    for entry, name in _named_files(spec):
        if not (folder / name).is_file():
            raise ModelTomlError(f"{entry}: the folder has no file {name!r}.")
    return spec


def parse_model(text: bytes) -> ModelSpec:
    """Read the text of a model.toml.

    Raises:
        ModelTomlError: it is wrong; the sentence names the entry.
        LineModelError: it describes a model of tensors.
    """
    try:
        table = tomllib.loads(text.decode())
    except (ValueError, RecursionError) as error:  # the parser's own, bad UTF-8, numbers without end, nesting
        raise ModelTomlError(f"{FILE_NAME} is no TOML: {error}.") from error
    if "inputs" in table:
        raise LineModelError(f"{FILE_NAME} describes a model of tensors: it has [[inputs]].")
    try:
        spec = msgspec.convert(table, ModelSpec)
    except msgspec.ValidationError as error:
        raise ModelTomlError(name_entry(str(error))) from error
    _check_model(spec.model)
    _check_tensors(spec)
    _check_numbers(spec)
    for entry, name in _named_files(spec):
        check_path(entry, name)
    if spec.data.holdout in (spec.data.calibration, spec.data.replay):
        raise ModelTomlError("[data] holdout: gates need frames that neither calibration nor replay uses.")
    return spec


def write_model(spec: ModelSpec) -> bytes:
    """The text of a model.toml that reads back as ``spec``."""
    return tomli_w.dumps(msgspec.to_builtins(spec)).encode()


def source_files(folder: Path, spec: ModelSpec) -> dict[str, Path]:
    """The files that make up a version: what model.toml names, itself, and the model card."""
    names = [FILE_NAME, *dict.fromkeys(name for _, name in _named_files(spec))]
    if (folder / CARD_NAME).is_file():
        names.append(CARD_NAME)
    return {name: folder / name for name in names}


def _named_files(spec: ModelSpec) -> list[tuple[str, str]]:
    named = [
        ("[model] file", spec.model.file),
        ("[data] calibration", spec.data.calibration),
        ("[data] holdout", spec.data.holdout),
    ]
    optional = [("[data] replay", spec.data.replay), ("[rebuild] recipe", spec.rebuild.recipe)]
    return named + [(entry, name) for entry, name in optional if name]


def name_entry(message: str) -> str:
    """Turn msgspec's words (``... - at `$.model.name```) into "[model] name: ..."."""
    said, _, at = message.partition(" - at ")
    parts = at.strip("`").removeprefix("$").lstrip(".").split(".")
    unknown = re.search(r"unknown field `(\w+)`", said)
    missing = re.search(r"missing required field `(\w+)`", said)
    found = unknown or missing
    if found:
        parts = [part for part in parts if part] + [found.group(1)]
        said = "there is no such entry" if unknown else "the entry is missing"
    entry = f"[{parts[0]}] {'.'.join(parts[1:])}".strip() if len(parts) > 1 else parts[0]
    return f"{entry}: {said[0].lower()}{said[1:]}."


def check_name(name: str) -> None:
    """Check a model's name.

    Raises:
        ModelTomlError: it can be none.
    """
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise ModelTomlError(
            f"[model] name: {name!r} is no name of 1 to 64 small letters, digits and inner hyphens."
        )


def _check_model(part: ModelPart) -> None:
    check_name(part.name)
    if len(part.labels) < 2 or len(set(part.labels)) != len(part.labels) or not all(part.labels):
        raise ModelTomlError("[model] labels: there have to be at least two, all different, none empty.")
    if not part.fallback:
        raise ModelTomlError("[model] fallback: the line needs a decision for a frame without one.")


def _check_tensors(spec: ModelSpec) -> None:
    image, tensor = spec.preprocessing, spec.input
    channels = 1 if image.colour == "gray" else 3
    for name, values in (("mean", image.mean), ("std", image.std)):
        if len(values) != channels:
            raise ModelTomlError(f"[preprocessing] {name}: colour {image.colour} has {channels} channel(s).")
    if min(image.std) <= 0:
        raise ModelTomlError("[preprocessing] std: it divides, so it has to be above 0.")
    if tensor.dtype != "float32":
        raise ModelTomlError("[input] dtype: preprocessing makes float32.")
    size = (image.height, image.width)
    shape = (1, channels, *size) if image.layout == "NCHW" else (1, *size, channels)
    if tensor.shape != shape:
        raise ModelTomlError(f"[input] shape: preprocessing makes {list(shape)}, not {list(tensor.shape)}.")


def _check_numbers(spec: ModelSpec) -> None:
    limits, drift, rebuild = spec.limits, spec.drift, spec.rebuild
    check_gates(spec.targets, spec.gates)
    check_range("[drift] harm_tolerance", drift.harm_tolerance, 0, 1)
    at_least: Iterable[tuple[str, float, float]] = (
        ("[preprocessing] width", spec.preprocessing.width, 1),
        ("[preprocessing] height", spec.preprocessing.height, 1),
        ("[limits] golden_tolerance", limits.golden_tolerance, 0),
        ("[limits] latency_p99_us", limits.latency_p99_us, 1),
        ("[limits] memory_mb", limits.memory_mb, 1),
        ("[limits] shadow_frames", limits.shadow_frames, 0),
        ("[limits] probation_frames", limits.probation_frames, 0),
        ("[limits] changeover_frames", limits.changeover_frames, 0),
        ("[drift] average_run_length", drift.average_run_length, 1),
        ("[drift] price_per_mistake", drift.price_per_mistake, 0),
    )
    for entry, value, low in at_least:
        check_range(entry, value, low, float("inf"))
    _check_rebuild(rebuild)


def _check_rebuild(part: RebuildPart) -> None:
    numbers: Iterable[tuple[str, float, float, float]] = (
        ("cooldown_s", part.cooldown_s, 0, float("inf")),
        ("minimum_samples", part.minimum_samples, 1, MOST_SAMPLES),
        ("new_samples", part.new_samples, 0, float("inf")),
        ("most_per_day", part.most_per_day, 1, float("inf")),
        ("approval_hours", part.approval_hours, 0.01, float("inf")),
        ("most_new_labels", part.most_new_labels, 0, float("inf")),
        ("minimum_audited", part.minimum_audited, 0, float("inf")),
        ("unaudited_margin", part.unaudited_margin, 0, 1),
        ("most_device_share", part.most_device_share, 0.5, 1),
    )
    for name, value, low, high in numbers:
        check_range(f"[rebuild] {name}", value, low, high)
    asking = ("automatic", "schedule", "new_samples", "on_recipe_change")
    if not (part.recipe and part.ladder):
        for name in asking:
            if getattr(part, name):
                raise ModelTomlError(f"[rebuild] {name}: a rebuild needs a recipe and at least one rung.")
    if part.schedule:
        from edgewright.controller.rebuild.calendar import verify_schedule

        verify_schedule(part.schedule)


def check_gates(targets: tuple[str, ...], gates: GatesPart) -> None:
    """Check the targets and the thresholds.

    Raises:
        ModelTomlError: one is wrong; the sentence names the entry.
    """
    check_range("[gates] top1_agreement", gates.top1_agreement, 0, 1)
    check_range("[gates] per_class_loss", gates.per_class_loss, 0, 1)
    check_range("[gates] logit_error", gates.logit_error, 0, float("inf"))
    check_range("[gates] latency_ratio", gates.latency_ratio, 0, float("inf"))
    check_range("[gates] size_ratio", gates.size_ratio, 0, float("inf"))
    check_range("[gates] accuracy", gates.accuracy, 0, 1)
    entries: Iterable[tuple[str, tuple[Any, ...]]] = (
        ("targets", targets),
        ("[gates] precisions", gates.precisions),
    )
    for entry, values in entries:
        if not values or len(set(values)) != len(values):
            raise ModelTomlError(f"{entry}: there has to be at least one, and none twice.")


def check_range(entry: str, value: float, low: float, high: float) -> None:
    """Check a number.

    Raises:
        ModelTomlError: it is not from ``low`` to ``high``.
    """
    if not low <= value <= high:
        words = f"from {low:g} to {high:g}" if high < float("inf") else f"at least {low:g}"
        raise ModelTomlError(f"{entry}: it has to be {words}, not {value:g}.")


def check_path(entry: str, name: str) -> None:
    """Check that a path stays in the model's folder.

    Raises:
        ModelTomlError: it does not.
    """
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise ModelTomlError(f"{entry}: {name!r} is no path inside the model's folder.")
