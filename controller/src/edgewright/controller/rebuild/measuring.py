"""Between compiling and releasing: devices of each target measure what passed the gates, and the best ships.

A target without a device, or whose devices do not answer in time, goes on as it was compiled. A version of
which devices say that nothing does is not released: it would be refused by every device of that target.
"""

from typing import Final

import msgspec

from edgewright.controller.blobs import BlobStore
from edgewright.controller.compiler.protocol import BuildResult, Built
from edgewright.controller.errors import GateFailedError
from edgewright.controller.qualification.choice import plain_name
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
            named = {plain_name(each.chosen): each.sha256 for each in (built, *built.others)}
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


def _choose(built: Built, measuring: Measuring, orders: list[int], blobs: BlobStore) -> Built:
    picked = measuring.pick(orders)
    if picked is not None:
        chosen = next(each for each in (built, *built.others) if each.sha256 == picked.manifest_sha256)
        return _on_hardware(chosen, blobs)
    if said := measuring.complaints(orders):
        raise GateFailedError(f"Nothing for {built.target} does on its devices. {' '.join(said)}")
    return msgspec.structs.replace(built, others=())


def _on_hardware(built: Built, blobs: BlobStore) -> Built:
    """The artifact with a manifest that says where it was measured."""
    manifest = decode_manifest(blobs.read(built.sha256))
    data = encode_manifest(msgspec.structs.replace(manifest, qualification="hardware"))
    return msgspec.structs.replace(
        built, qualification="hardware", sha256=blobs.put(data), length=len(data), others=()
    )
