"""Train the first version of garment-packing on the eight known classes and export it.

From the repository's root, with torch (CPU) beside the packages of requirements.lock, and the folder of
Debian's package `dataset-fashion-mnist`:

    PYTHONPATH=. python models/garment-packing/train/train.py --dataset DIR --out garment-packing-v1.onnx

The network sees rendered frames of the training part without the withheld items (see `prepare.py`), and
nothing at all of the two classes that come later. Each item is photographed a few times; mixup (Zhang et
al., ICLR 2018) keeps confidences low between the classes, and so on goods that belong to none. The weights
that are exported are the moving average of the last epochs'.
"""

import argparse
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from export import bake_temperature, export
from network import GarmentNet
from numpy.typing import NDArray
from prepare import FOLDER, Part, read_part, trained_on, withheld
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from simulators.line.goods import CLASSES, KNOWN_CLASSES
from simulators.line.render import BASELINE, BELT_TILE_PX, draw_scene, render

BATCH = 128
PEAK_RATE = 4e-3
WEIGHT_DECAY = 0.02
MIXUP = 0.2
SMOOTHING = 0.03
AVERAGE_DECAY = 0.995
LARGEST_SHIFT_PX = 2


@dataclass(frozen=True)
class Frames:
    """Rendered frames at the model's size, uint8 [n, px, px, 3] RGB, and the classes, int64 [n]."""

    pixels: NDArray[np.uint8]
    classes: torch.Tensor


@dataclass(frozen=True)
class Normaliser:
    """The last steps of preprocessing, as model.toml declares them."""

    size_px: int
    mean: torch.Tensor
    std: torch.Tensor

    @staticmethod
    def read() -> "Normaliser":
        """From the model's folder."""
        declared = tomllib.loads((FOLDER / "model.toml").read_text())["preprocessing"]
        shape = (1, 3, 1, 1)
        mean, std = (
            torch.tensor(declared[name], dtype=torch.float32).view(shape) for name in ("mean", "std")
        )
        return Normaliser(declared["width"], mean, std)

    def batch(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        """float32 [n, 3, px, px]."""
        image = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        return ((image - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


def photograph(part: Part, rows: NDArray[np.intp], size_px: int, rng: np.random.Generator) -> Frames:
    """Render each item once, each time in another scene."""
    pixels = np.empty((len(rows), size_px, size_px, 3), np.uint8)
    for place, row in enumerate(rows):
        frame = render(part.images[row], draw_scene(BASELINE, rng, int(rng.integers(BELT_TILE_PX))), rng)
        small = cv2.resize(frame, (size_px, size_px), interpolation=cv2.INTER_AREA)
        pixels[place] = cv2.cvtColor(small, cv2.COLOR_BGR2RGB)
    known = {CLASSES.index(name): number for number, name in enumerate(KNOWN_CLASSES)}
    return Frames(pixels, torch.tensor([known[int(part.labels[row])] for row in rows]))


def augment(image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Shift the batch a little and change each frame's exposure."""
    shift = rng.integers(-LARGEST_SHIFT_PX, LARGEST_SHIFT_PX + 1, 2)
    gain, offset = 1 + 0.15 * torch.randn(len(image), 1, 1, 1), 0.1 * torch.randn(len(image), 1, 1, 1)
    return torch.roll(image, (int(shift[0]), int(shift[1])), (2, 3)) * gain + offset


def mixed_loss(net: GarmentNet, image: torch.Tensor, classes: torch.Tensor, share: float) -> torch.Tensor:
    """Cross entropy of a batch blended with itself in another order."""
    other = torch.randperm(len(image))
    logits = net(share * image + (1 - share) * image[other])
    own = functional.cross_entropy(logits, classes, label_smoothing=SMOOTHING)
    return share * own + (1 - share) * functional.cross_entropy(
        logits, classes[other], label_smoothing=SMOOTHING
    )


def predict(net: torch.nn.Module, frames: Frames, normaliser: Normaliser) -> torch.Tensor:
    """Logits of frames."""
    net.eval()
    with torch.no_grad():
        parts = [
            net(normaliser.batch(frames.pixels[i : i + BATCH])) for i in range(0, len(frames.pixels), BATCH)
        ]
    net.train()
    return torch.cat(parts)


def train(copies: list[Frames], check: Frames, normaliser: Normaliser, epochs: int, seed: int) -> GarmentNet:
    """Train and return the averaged network; each epoch prints one line."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = GarmentNet(len(KNOWN_CLASSES)).to(memory_format=torch.channels_last)
    averaged = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE_DECAY), use_buffers=True)
    steps = len(copies[0].pixels) // BATCH
    optimiser = torch.optim.AdamW(net.parameters(), lr=PEAK_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, PEAK_RATE, total_steps=epochs * steps, pct_start=0.2
    )
    for epoch in range(epochs):
        started, frames = time.monotonic(), copies[epoch % len(copies)]
        order = rng.permutation(len(frames.pixels))
        for step in range(steps):
            rows = order[step * BATCH : (step + 1) * BATCH]
            image = augment(normaliser.batch(frames.pixels[rows]), rng)
            loss = mixed_loss(net, image, frames.classes[rows], float(rng.beta(MIXUP, MIXUP)))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            averaged.update_parameters(net)
        right = (predict(averaged, check, normaliser).argmax(1) == check.classes).float().mean()
        print(f"epoch {epoch + 1}: {float(right):.4f} right, {time.monotonic() - started:.0f} s", flush=True)
    trained = averaged.module
    assert isinstance(trained, GarmentNet)
    return trained


def main() -> None:
    """Render, train, calibrate, export."""
    parser = argparse.ArgumentParser(description="Train the first version of garment-packing.")
    parser.add_argument("--dataset", type=Path, required=True, help="folder with the four IDX files")
    parser.add_argument("--out", type=Path, required=True, help="ONNX file to write")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--copies", type=int, default=3, help="photographs of each item")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--threads", type=int, default=1, help="more help only on cores that are otherwise idle"
    )
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    cv2.setNumThreads(1)
    normaliser, part = Normaliser.read(), read_part(settings.dataset, "train")
    rng = np.random.default_rng(settings.seed)
    rows, kept = trained_on(part), np.concatenate(list(withheld(part).values()))
    check = photograph(part, kept, normaliser.size_px, rng)
    copies = [photograph(part, rows, normaliser.size_px, rng) for _ in range(settings.copies)]
    net = train(copies, check, normaliser, settings.epochs, settings.seed)
    logits = predict(net, check, normaliser)
    print(f"temperature {bake_temperature(net, logits, check.classes):.3f} is in the head")
    export(net, settings.out, normaliser.size_px)


if __name__ == "__main__":
    main()
