"""Cut the committed data out of Fashion-MNIST.

From the repository's root, with the folder of Debian's package `dataset-fashion-mnist`:

    PYTHONPATH=. python models/garment-packing/train/prepare.py --dataset DIR

`data/goods.npz` is the stream pool of the simulated lines: `STREAM_PER_CLASS` items of each of the ten
classes, all from the test part of the data set. `data/<split>.npz` of each of the `SPLITS` holds camera
frames of the eight known classes, JPEG as a line's recorder writes them, from items of the training part
that `train.py` leaves out (`withheld`). So no item is both trained on and streamed, replayed or held out;
`data/trained-on.npz` holds the digests of the items that were trained on, to prove it.
"""

import argparse
import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from simulators.line.goods import CLASSES, KNOWN_CLASSES
from simulators.line.render import BASELINE, BELT_TILE_PX, draw_scene, render

FOLDER = Path(__file__).parents[1]
DATA = FOLDER / "data"
IDX_IMAGES_HEADER_BYTES = 16
IDX_LABELS_HEADER_BYTES = 8
STREAM_PER_CLASS = 700
# Frames of each class, by split.
SPLITS = {"replay": 104, "calibration": 16, "holdout": 50}
JPEG_QUALITY = 90
SEED = 2017


@dataclass(frozen=True)
class Part:
    """One part of the data set: uint8 [n, 28, 28] and uint8 [n]."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def first(self, label: int, count: int) -> NDArray[np.intp]:
        """Rows of the first `count` items of a class, in the file's order."""
        return np.flatnonzero(self.labels == label)[:count]


def read_part(folder: Path, prefix: str) -> Part:
    """Read the IDX files `<prefix>-images-idx3-ubyte.gz` and `<prefix>-labels-idx1-ubyte.gz`."""
    pixels = gzip.decompress((folder / f"{prefix}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / f"{prefix}-labels-idx1-ubyte.gz").read_bytes())
    images = np.frombuffer(pixels, np.uint8, offset=IDX_IMAGES_HEADER_BYTES).reshape(-1, 28, 28)
    return Part(images, np.frombuffer(labels, np.uint8, offset=IDX_LABELS_HEADER_BYTES))


def withheld(train: Part) -> dict[str, NDArray[np.intp]]:
    """Rows of the training part that are kept for the splits, for each known class."""
    count = sum(SPLITS.values())
    return {name: train.first(CLASSES.index(name), count) for name in KNOWN_CLASSES}


def trained_on(train: Part) -> NDArray[np.intp]:
    """Rows of the training part that `train.py` trains on: the known classes without what is withheld."""
    known = np.isin(train.labels, [CLASSES.index(name) for name in KNOWN_CLASSES])
    known[np.concatenate(list(withheld(train).values()))] = False
    return np.flatnonzero(known)


def digests(images: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The first eight bytes of each picture's SHA-256, by which the tests prove that parts share no item."""
    first = [hashlib.sha256(image.tobytes()).digest()[:8] for image in images]
    return np.frombuffer(b"".join(first), np.uint64)


def write_goods(test: Part, train: Part, path: Path) -> None:
    """Write the stream pool, without the few items that the training part shows too."""
    is_new = ~np.isin(digests(test.images), digests(train.images))
    rows = np.concatenate(
        [np.flatnonzero((test.labels == label) & is_new)[:STREAM_PER_CLASS] for label in range(len(CLASSES))]
    )
    np.savez_compressed(path, images=test.images[rows], labels=test.labels[rows])


def write_frames(train: Part, folder: Path) -> None:
    """Photograph each withheld item once and write every split's frames with their labels."""
    rng = np.random.default_rng(SEED)
    kept = withheld(train)
    start = 0
    for split, count in SPLITS.items():
        pairs = [(name, row) for name, rows in kept.items() for row in rows[start : start + count]]
        pictures = [_photograph(train.images[row], rng) for _, row in pairs]
        ends = np.cumsum([len(picture) for picture in pictures])
        labels = np.array([name for name, _ in pairs])
        items = digests(train.images[[row for _, row in pairs]])
        jpeg = np.concatenate(pictures)
        np.savez(folder / f"{split}.npz", jpeg=jpeg, ends=ends, labels=labels, items=items)
        start += count


def _photograph(item: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    frame = render(item, draw_scene(BASELINE, rng, int(rng.integers(BELT_TILE_PX))), rng)
    written, jpeg = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert written
    return jpeg.ravel()


def main() -> None:
    """Write all files."""
    parser = argparse.ArgumentParser(description="Cut the committed data out of Fashion-MNIST.")
    parser.add_argument("--dataset", type=Path, required=True, help="folder with the four IDX files")
    folder: Path = parser.parse_args().dataset
    DATA.mkdir(exist_ok=True)
    train = read_part(folder, "train")
    write_goods(read_part(folder, "t10k"), train, DATA / "goods.npz")
    write_frames(train, DATA)
    np.savez(DATA / "trained-on.npz", digests=np.sort(digests(train.images[trained_on(train)])))


if __name__ == "__main__":
    main()
