"""A first model.toml as text: what was found in the model, and CHECK where a person has to look."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import tomli_w

from edgewright.controller.compiler.sources.proposal import DRAWN, Picture, Proposal
from edgewright.controller.model_tensors import InputPart, TensorSpec

_WRAPPED_BEYOND = 90
"""Characters of a list of texts that still stand on one line."""


def write_proposal(proposal: Proposal, source: str, *, tensors: bool) -> str:
    """The text of a model.toml.

    Args:
        proposal: what was found.
        source: the model file's name, for the first comment.
        tensors: write it as a tensor model, whatever the model looks like.
    """
    picture = None if tensors else proposal.picture
    lines = [
        f"# Written by `edgewright init` from {_plain(source)}.",
        "# Look at each CHECK: it was guessed, or it is yours to say.",
        "# docs/reference/tensor-models.md explains every entry."
        if picture is None
        else "# docs/reference/model-toml.md explains every entry.",
        "",
        _entry("targets", list(proposal.spec.targets)),
    ]
    lines += _tensor_lines(proposal) if picture is None else _picture_lines(proposal.spec, picture)
    return "\n".join(lines) + "\n"


def to_do(proposal: Proposal, *, tensors: bool) -> tuple[str, ...]:
    """What a person has to fill in or to check, as sentences."""
    spec = proposal.spec
    licence = "licence is unknown: name the licence of the weights."
    if proposal.picture is None or tensors:
        return (*proposal.guesses, licence)
    said = [guess for guess in proposal.guesses if guess != DRAWN]
    if proposal.picture.probabilities:
        said.append(f"{proposal.picture.output!r} are probabilities: export the model without its Softmax.")
    part = spec.inputs[0]
    return (
        *said,
        "labels are numbered: write the classes in the output's order.",
        f"mean and std pass pixels on as 0 to 1: write what {part.name!r} was trained with.",
        "data/calibration.npz and data/holdout.npz are missing: record labelled frames.",
        licence,
    )


def _tensor_lines(proposal: Proposal) -> Iterator[str]:
    spec = proposal.spec
    yield from ("", "[model]", _entry("name", spec.model.name), _entry("file", spec.model.file))
    yield "# CHECK: of the weights, as an SPDX expression; then remove [licence] below."
    yield _entry("licence", spec.model.licence)
    if spec.model.decision:
        yield "# Its largest value decides. CHECK: add labels = [...] if the classes have names."
        yield _entry("decision", spec.model.decision)
    for part in spec.inputs:
        yield from _input_lines(part, proposal.guesses)
    data = spec.data.synthetic
    yield from ("", "[data]")
    yield "# CHECK: drawn inputs show that artifacts compute what the model computes, not how good it is."
    yield "# With recordings, name calibration and holdout instead: .npz files with one array an input."
    if data is not None:
        yield f"synthetic = {{ seed = {data.seed}, rows = {data.rows} }}"
    yield from _licence_lines()


def _input_lines(part: InputPart, guesses: Iterable[str]) -> Iterator[str]:
    yield from ("", "[[inputs]]", _entry("name", part.name), _entry("dtype", part.dtype))
    if any(repr(part.name) in guess and "was tried" in guess for guess in guesses):
        yield "# CHECK: the file leaves a size open; with these the model runs."
    yield _entry("shape", list(part.shape))
    if part.kind == "constant":
        yield "# CHECK: taken for a value that never changes."
        yield from (_entry("kind", "constant"), f"value = {part.value:g}")
    elif part.kind == "state":
        yield "# CHECK: taken for what the model gave in the call before."
        yield from (_entry("kind", "state"), _entry("feedback", part.feedback))
    else:
        yield "# Drawn values lie between these."
        yield from (f"low = {part.low:g}", f"high = {part.high:g}")


def _picture_lines(spec: TensorSpec, picture: Picture) -> Iterator[str]:
    part = spec.inputs[0]
    yield from ("", "[model]", _entry("name", spec.model.name), _entry("file", spec.model.file))
    yield "# CHECK: of the weights and of what they were trained on; then remove [licence] below."
    yield _entry("licence", spec.model.licence)
    yield "# CHECK: the classes, in the output's order."
    yield _entry("labels", [f"class-{number}" for number in range(picture.classes)])
    yield "# CHECK: the decision for a frame that no runner decides in time."
    yield _entry("fallback", "by hand")
    yield from ("", "[input]", _entry("name", part.name), _entry("dtype", "float32"))
    yield _entry("shape", list(part.shape))
    yield from ("", "[output]", _entry("name", picture.output))
    yield from ("", "[preprocessing]", f"width = {picture.width}", f"height = {picture.height}")
    yield "# CHECK: what the network was trained with. These pass pixels on as 0 to 1."
    yield _entry("colour", "gray" if picture.channels == 1 else "rgb")
    yield from (_entry("mean", [0.0] * picture.channels), _entry("std", [1.0] * picture.channels))
    yield _entry("layout", picture.layout)
    yield from ("", "[data]")
    yield "# CHECK: labelled frames that you record; docs/reference/model-toml.md says how they are stored."
    yield from ('calibration = "data/calibration.npz"', 'holdout = "data/holdout.npz"')
    yield from ("", "[limits]", "# CHECK: what the device has to hold.")
    yield from ("golden_tolerance = 0.05", "latency_p99_us = 100000", "memory_mb = 256")
    yield from ("shadow_frames = 20", "probation_frames = 60")
    yield from _licence_lines()


def _licence_lines() -> Iterator[str]:
    yield from (
        "",
        "[licence]",
        "# CHECK: without this, a model of unknown licence is refused.",
        'unknown = "warn"',
    )


def _entry(key: str, value: str | list[Any]) -> str:
    if isinstance(value, list) and not any(isinstance(item, str) for item in value):
        return f"{key} = [{', '.join(str(item) for item in value)}]"
    text = tomli_w.dumps({key: value}).strip()
    if isinstance(value, list):
        line = f"{key} = [{', '.join(tomli_w.dumps({'x': item}).strip()[4:] for item in value)}]"
        return line if len(line) <= _WRAPPED_BEYOND else text
    return text


def _plain(name: str) -> str:
    """A file's name for a comment, which ends at a line's end."""
    return "".join(letter if letter.isprintable() else "?" for letter in Path(name).name)
