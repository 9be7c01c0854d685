"""The child of the tests of damaged files: read so many broken copies of a file, and say what became of them.

    python -m tests.controller.damaged_sources FILE COUNT SEED

Each number on standard output is an error's, 0 for a copy that was taken. A traceback ends the process.
"""

import random
import sys
import tempfile
from pathlib import Path

from edgewright.controller.compiler.sources.reading import read_subject
from edgewright.wire.errors import EdgewrightError
from tests.fuzz.mutation import change


def damaged(whole: bytes, rng: random.Random) -> bytes:
    """A copy that was cut off, that lost some bits, or whose pieces are mixed up."""
    match rng.randrange(3):
        case 0:
            return whole[: rng.randrange(len(whole))]
        case 1:
            out = bytearray(whole)
            for _ in range(rng.randrange(1, 9)):
                out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
            return bytes(out)
        case _:
            return change(whole, rng, rng.randrange(1, 5), [whole])


def main() -> None:
    """Read the copies."""
    source, count, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    whole = source.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"damaged{source.suffix}")
        for number in range(count):
            path.write_bytes(damaged(whole, random.Random(seed * count + number)))
            try:
                read_subject(path)
                print(0, flush=True)
            except EdgewrightError as error:
                print(error.number, flush=True)


if __name__ == "__main__":
    main()
