"""Between compiling and releasing: devices of each target measure what passed the gates, and the best ships.

A target without a device, or whose devices do not answer in time, goes on as it was compiled, with the first
candidate that none of them failed. A version of which devices say that nothing does is not released: it would
be refused by every device of that target.
Card and bill of materials are written again from what ships, before anything is signed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from edgewright.controller.blobs import BlobStore
from edgewright.controller.compiler.keys import keys_of
from edgewright.controller.compiler.proof import HARDWARE
from edgewright.controller.compiler.protocol import BuildRequest, BuildResult, Built, DeviceAnswer
from edgewright.controller.compiler.results import put_ranges
from edgewright.controller.compiler.telling import tell
from edgewright.controller.compiler.worker import site_targets
from edgewright.controller.errors import GateFailedError
from edgewright.controller.model_toml import read_model
from edgewright.controller.qualification.choice import plain_names
from edgewright.controller.rebuild.context import Context, Measuring
from edgewright.wire.manifest import decode_manifest, encode_manifest

LOOK_S: Final = 0.5
"""How often it is looked whether devices have answered."""


def measure_build(context: Context, result: BuildResult, limit_s: float) -> BuildResult:
    """The build with the candidate for each target that devices have chosen.

    Args:
        context: the surroundings.
        result: the build, with everything that passed the gates.
        limit_s: seconds that devices have.

    Raises:
        GateFailedError: devices have measured a target's candidates, and none does.
        Interrupted: the controller goes down; the same orders are found again afterwards.
    """
    measuring, orders = context.measuring, dict[str, list[int]]()
    for built in result.built:
        devices = measuring.willing(built.target) if measuring else []
        if measuring and devices:
            every = (built, *built.others)
            names = plain_names([each.chosen for each in every])
            named = {name: each.sha256 for name, each in zip(names, every, strict=True)}
            orders[built.target] = measuring.propose(named, devices, limit_s=limit_s)
    everything = [number for numbers in orders.values() for number in numbers]
    while measuring and not measuring.is_over(everything):
        context.pause(LOOK_S)
    chosen = [
        _choose(built, measuring, orders[built.target], context.blobs)
        if measuring and built.target in orders
        else msgspec.structs.replace(built, others=())
        for built in result.built
    ]
    return msgspec.structs.replace(result, built=tuple(chosen))


def tell_again(request: BuildRequest, result: BuildResult, blobs: BlobStore) -> BuildResult:
    """The result with card and bill of materials of what ships, not of what the compiler would have shipped.

    Args:
        request: of the build; its folder still has the model's files.
        result: what came out, after devices have chosen.
        blobs: takes card, bill and calibration ranges.

    Raises:
        ModelError: the folder cannot be read any more.
    """
    kept, result = result.retold, msgspec.structs.replace(result, retold=None)
    on_devices = [built.target for built in result.built if built.qualification == HARDWARE]
    if kept is None:
        return result
    chosen = {built.target: built.chosen for built in result.built}
    if not on_devices and all(one.chosen == chosen[one.target] for one in kept.compiled):
        return result
    compiled = [
        next(each for each in (one, *one.others) if each.chosen == chosen[one.target])
        for one in kept.compiled
    ]
    folder = Path(request.folder)
    with site_targets(request):
        spec = read_model(folder)
        identity = (request.version, request.parent)
        keys = keys_of(folder, spec)
        told = tell(folder, spec, keys, kept.source, compiled, blobs, *identity, on_devices)
    return msgspec.structs.replace(
        result,
        card_sha256=told.card_sha256,
        sbom_sha256=told.sbom_sha256,
        ranges_sha256=put_ranges(compiled, blobs),
    )


def _choose(built: Built, measuring: Measuring, orders: list[int], blobs: BlobStore) -> Built:
    every, picked = (built, *built.others), measuring.pick(orders)
    if picked is not None:
        chosen = next(each for each in every if each.sha256 == picked.manifest_sha256)
        return _on_hardware(chosen, _answers(every, measuring, orders), blobs)
    failed = {answer.manifest_sha256 for answer in measuring.answers(orders) if not answer.ok}
    unjudged = [each for each in every if each.sha256 not in failed]
    if not unjudged:
        said = " ".join(measuring.complaints(orders))
        raise GateFailedError(f"Nothing for {built.target} does on its devices. {said}")
    return msgspec.structs.replace(unjudged[0], others=())


def _answers(every: Sequence[Built], measuring: Measuring, orders: list[int]) -> tuple[DeviceAnswer, ...]:
    """What devices said, by the names that candidates have here; an order's are spelt for a path."""
    names = {each.sha256: each.chosen for each in every}
    said = [
        msgspec.structs.replace(answer, candidate=names[answer.manifest_sha256])
        for answer in measuring.answers(orders)
        if answer.manifest_sha256 in names
    ]
    return tuple(sorted(said, key=lambda answer: (answer.candidate, answer.device, answer.order)))


def _on_hardware(built: Built, answers: tuple[DeviceAnswer, ...], blobs: BlobStore) -> Built:
    """The artifact with a manifest that says that devices measured it, and with what they measured."""
    manifest = decode_manifest(blobs.read(built.sha256))
    data = encode_manifest(msgspec.structs.replace(manifest, qualification=HARDWARE))
    passed = [answer for answer in answers if answer.ok and answer.candidate == built.chosen]
    measured = {
        "device_latency_us": float(max(answer.latency_p50_us for answer in passed)),
        "device_memory_mb": max(answer.memory_mb for answer in passed),
    }
    return msgspec.structs.replace(
        built,
        qualification=HARDWARE,
        sha256=blobs.put(data),
        length=len(data),
        numbers={**built.numbers, **measured},
        others=(),
        answers=answers,
    )
