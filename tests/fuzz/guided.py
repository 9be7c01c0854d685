"""One target under atheris, in a process of its own: libFuzzer ends the process that it runs in.

``python -m tests.fuzz.guided TARGET INPUTS``. Python code of the project and of tuf is instrumented as it is
imported, so that inputs that reach new branches are kept and changed further. Half of the changes are
libFuzzer's own, half are ``mutation.change``, which knows the shape of our messages a little.
"""

import random
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import atheris  # type: ignore[import-untyped]  # it ships no type information

with atheris.instrument_imports(include=["edgewright", "tuf"], enable_loader_override=False):
    from tests.fuzz.mutation import change
    from tests.fuzz.target import feed
    from tests.fuzz.targets import TARGETS

LARGEST_INPUT_BYTES: Final = 16_384
ONE_INPUT_SECONDS: Final = 20


def main(name: str, inputs: int) -> None:
    """Fuzz with so many inputs; an exception that is no refusal ends it at once and is printed."""
    target = TARGETS[name]
    made = target.prepare()

    def mutate(data: bytes, most: int, seed: int) -> Any:
        if seed & 1:
            return atheris.Mutate(data, most)
        return change(data, random.Random(seed), 1 + seed % 4, made.seeds)[:most]

    def parse(data: bytes) -> None:
        feed(made, target, data)

    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(made.seeds):
            (Path(folder) / str(number)).write_bytes(seed)
        options = {
            "atheris_runs": inputs,
            "max_len": LARGEST_INPUT_BYTES,
            "timeout": ONE_INPUT_SECONDS,
            "rss_limit_mb": 2048,
            "artifact_prefix": f"{tempfile.gettempdir()}/fuzz-{name}-",
        }
        flags = [f"-{option}={value}" for option, value in options.items()]
        atheris.Setup([sys.argv[0], *flags, folder], parse, custom_mutator=mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
