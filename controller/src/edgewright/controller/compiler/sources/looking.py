"""Looking at a model in a child process: a damaged file that ends native code takes only the child with it.

The child gets a path and answers with one JSON document: the proposal, or an error's number and sentence.
"""

import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec

from edgewright.controller.broker.tether import tethered
from edgewright.controller.childenvironment import child_environment
from edgewright.controller.compiler.sources.proposal import Proposal
from edgewright.controller.errors import NotAModelError, told_by_child
from edgewright.wire.errors import EdgewrightError

LIMIT_S: Final = 600.0


class Answer(msgspec.Struct, frozen=True):
    """What the child found: a proposal, or an error."""

    proposal: Proposal | None = None
    error: int = 0
    sentence: str = ""


def look(path: Path) -> Proposal:
    """Look at a model's file in a child process.

    Raises:
        ModelError: the file cannot be compiled; the number says why.
    """
    command = tethered([sys.executable, "-m", __spec__.name, str(path)])
    try:
        ended = subprocess.run(
            command,
            capture_output=True,
            env=child_environment(_toolchains()),
            timeout=LIMIT_S,
            check=False,
        )
        answer = msgspec.json.decode(ended.stdout, type=Answer)
    except subprocess.TimeoutExpired as error:
        raise NotAModelError(f"Looking at {path.name} took more than {LIMIT_S:.0f} s.") from error
    except msgspec.DecodeError as error:
        raise NotAModelError(f"Reading {path.name} ended the process that looked at it.") from error
    if answer.proposal is None:
        raise told_by_child(answer.error, answer.sentence, NotAModelError)
    return answer.proposal


def _toolchains() -> dict[str, str]:
    # Toolchains are looked for where this process would look.
    from edgewright.controller.compiler.toolchains.places import folder_variable

    return folder_variable()


def main() -> None:
    """The child's side."""
    # Imported here, because the command's own process imports this module for its other half.
    from edgewright.controller.compiler.sources.proposals import propose

    try:
        answer = Answer(propose(Path(sys.argv[1])))
    except EdgewrightError as error:
        answer = Answer(error=error.number, sentence=error.sentence)
    sys.stdout.buffer.write(msgspec.json.encode(answer))


if __name__ == "__main__":
    main()
