"""``python -m edgewright.agent.runner serve|qualify``: see ``serve`` and ``qualify``.

The content key of a confidential model comes as the first message on the inherited socket, or to ``qualify``
on its standard input.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edgewright.agent.runner.ownprocess import die_with_parent
from edgewright.wire.encryption import KEY_BYTES


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    given = parser().parse_args(arguments)
    die_with_parent()
    if given.command == "serve":
        from edgewright.agent.runner.serve import serve

        return serve(given.fd, given.shm_fd, given.manifest, given.artifact, given.threads)
    from edgewright.agent.runner.qualify import qualify

    files = (given.manifest, given.artifact, given.golden)
    result = qualify(*files, given.threads, lambda: sys.stdin.buffer.read(KEY_BYTES))
    sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")
    return 0


def parser() -> argparse.ArgumentParser:
    """What a runner understands."""
    words = argparse.ArgumentParser(prog="python -m edgewright.agent.runner", description=__doc__)
    commands = words.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve", help="run frames for a line")
    serving.add_argument("--fd", type=int, required=True, help="inherited SEQPACKET socket")
    serving.add_argument("--shm-fd", type=int, required=True, help="inherited memory file")
    qualifying = commands.add_parser("qualify", help="hold an artifact against its manifest")
    qualifying.add_argument("--golden", type=Path, required=True)
    for command in (serving, qualifying):
        command.add_argument("--manifest", type=Path, required=True)
        command.add_argument("--artifact", type=Path, required=True)
        command.add_argument("--threads", type=int, default=1)
    return words


if __name__ == "__main__":
    sys.exit(main())
