"""What the serving loop allows a model that takes its time."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from edgewright.agent.runner.frames import READY_SEQUENCE, Layout, decode_reply, encode_request
from tests.agent.slow_runner import ALLOWED_S, RUN_S
from tests.agent.tiny_models import write_release

HANG_S = 60.0
_RUNS = int(1.5 * ALLOWED_S / RUN_S)


def test_a_model_that_computes_long_for_every_frame_is_not_ended(tmp_path: Path) -> None:
    """Frame after frame, without a pause, a runner computes longer than it may unasked, and answers all."""
    release = write_release(tmp_path)
    layout = Layout.of(release.manifest)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    memory = os.memfd_create("frames")
    os.ftruncate(memory, layout.length)
    fds = [theirs.fileno(), memory]
    paths = [str(release.manifest_path), str(release.artifact_path)]
    command = [sys.executable, "-m", "tests.agent.slow_runner", *map(str, fds), *paths]
    with ours, subprocess.Popen(command, pass_fds=fds) as runner:
        theirs.close()
        os.close(memory)
        ours.settimeout(HANG_S)
        assert decode_reply(ours.recv(4096)).error == 0
        ours.send(encode_request(READY_SEQUENCE))  # from this sign of life on it is not loading any more
        ours.recv(4096)
        for sequence in range(1, _RUNS + 1):
            ours.send(encode_request(sequence))
            answer = ours.recv(4096)
            assert answer, f"ended by {runner.wait(HANG_S)} after {sequence - 1} answers"
            assert decode_reply(answer).sequence == sequence
        ours.shutdown(socket.SHUT_RDWR)
        assert runner.wait(HANG_S) == 0
