"""``delta_ratio_head``: bytes on the wire of a rebuild that changes the head, of those of the full artifact.

The demo's network is rebuilt by its own recipe, on the rung that changes only the head, from 200 frames of
the drifted line; once as it is (fp32) and once as int8 with the same calibration frames. The value is the
length of the fp32 network's patch through its artifact's. Beside it stand what ``zstd -19`` makes of the
whole artifact, which is the peer, and what Debian's ``bsdiff`` makes of the two, where it is installed.
"""

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final, NamedTuple

import numpy as np

from edgewright.controller.compiler.frames import Frames, read_frames
from edgewright.controller.compiler.ort import Quantiser
from edgewright.controller.compiler.patches import encode_patch
from edgewright.controller.model_toml import ModelSpec, read_model
from simulators.line.goods import KNOWN_CLASSES, NEW_CLASSES, Belt, Phase, load_goods
from simulators.line.render import BASELINE, draw_scene, render

FOLDER: Final = Path(__file__).parents[2] / "models" / "garment-packing"
LABELS: Final = (*KNOWN_CLASSES, *NEW_CLASSES)
FRESH_FRAMES: Final = 200
REPLAYED_FRAMES: Final = 832


class Sizes(NamedTuple):
    """Bytes of the full artifact, of our patch, and of what the peers make."""

    full: int
    patch: int
    zstd: int
    bsdiff: int | None


def run() -> Iterator[dict[str, object]]:
    """Measure; sizes are the same in every run."""
    spec = read_model(FOLDER)
    base = (FOLDER / spec.model.file).read_bytes()
    rebuilt = _rebuilt(base)
    sizes = {"fp32": _sizes(base, rebuilt), "int8": _sizes(*_quantised(spec, base, rebuilt))}
    fp32 = sizes["fp32"]
    yield {
        "name": "delta_ratio_head",
        "value": round(fp32.patch / fp32.full, 5),
        "unit": "of the full artifact",
        "peer": "zstd -19, full artifact",
        "peer_value": round(fp32.zstd / fp32.full, 5),
        "ratio": round(fp32.patch / fp32.zstd, 5),
        "bytes": {precision: found._asdict() for precision, found in sizes.items()},
        "int8_ratio": round(sizes["int8"].patch / sizes["int8"].full, 5),
    }


def _rebuilt(base: bytes) -> bytes:
    recipe = _recipe()
    replay = read_frames(FOLDER / "data" / "replay.npz").spread(REPLAYED_FRAMES)
    given = [recipe.Dataset(np.stack(part.pixels), list(part.labels)) for part in (_fresh(), replay)]
    return bytes(recipe.fit(base, *given, LABELS, "head", seed=3).onnx)


def _recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("garment_packing_recipe", FOLDER / "recipe.py")
    if spec is None or spec.loader is None:
        raise RuntimeError(f"There is no recipe in {FOLDER}.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    return module


def _fresh() -> Frames:
    """Frames of the line after its drift."""
    belt, rng = Belt(load_goods(), 11, "r1"), np.random.default_rng([11, FRESH_FRAMES])
    items = [belt.next_item(Phase.DRIFTED) for _ in range(FRESH_FRAMES)]
    pixels = [render(item.image, draw_scene(BASELINE, rng, 83 * i), rng) for i, item in enumerate(items)]
    return Frames(tuple(pixels), tuple(item.truth for item in items))


def _quantised(spec: ModelSpec, base: bytes, rebuilt: bytes) -> tuple[bytes, bytes]:
    images = read_frames(FOLDER / spec.data.calibration).inputs(spec.preprocessing)
    calls = {"image": images[:, np.newaxis]}
    quantisers = [Quantiser(model) for model in (base, rebuilt)]
    old, new = (one.quantise(one.observe_ranges(calls, batches=True), "uint8") for one in quantisers)
    return old, new


def _sizes(old: bytes, new: bytes) -> Sizes:
    with tempfile.TemporaryDirectory() as folder:
        before, after, difference = (Path(folder) / name for name in ("old", "new", "difference"))
        before.write_bytes(old)
        after.write_bytes(new)
        command = ["zstd", "-19", "--quiet", "--stdout", str(after)]
        full = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
        bsdiff = None
        if shutil.which("bsdiff"):
            subprocess.run(["bsdiff", str(before), str(after), str(difference)], check=True)
            bsdiff = difference.stat().st_size
    return Sizes(len(new), len(encode_patch(old, new)), len(full), bsdiff)
