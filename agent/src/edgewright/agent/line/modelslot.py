"""A slot's model: its files, its runner, and what went wrong with its runners.

It notes failures and does not act on them: a frame that meets one is decided first, by the stand-in or the
fallback; then the line kills, replaces or gives up.
"""

import os
from pathlib import Path
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from edgewright.agent.control import SlotName
from edgewright.agent.environments import NO_ENVIRONMENTS, Environments
from edgewright.agent.line.breaker import HANG_GRACE_S, LATE_IN_A_ROW, START_LIMIT_S, Breaker
from edgewright.agent.line.forking import Zygote
from edgewright.agent.line.runnerprocess import SHADOW_NICE, RunnerProcess
from edgewright.agent.preprocess import input_shape, preprocess_into
from edgewright.wire.encryption import KEY_BYTES
from edgewright.wire.errors import (
    ConfidentialKeyError,
    EdgewrightError,
    MalformedMessageError,
    RunnerCrashError,
    RunnerHangError,
    RunnerSlowError,
)
from edgewright.wire.manifest import Manifest


class ModelSlot:
    """One model in one slot.

    Attributes:
        name: of the slot.
        manifest: of the model.
        runner: the running runner; None while it waits to be replaced.
        failure: what went wrong and was not dealt with yet.
        cause: name of what last took the runner down, for the frames that it could not decide.
        breaker: counts the failures.
        digest: of the manifest, as the supervisor named it.
        stand_in: whether it is a good model: loaded as one, or proven here.
        retry_at: when the next runner may start (monotonic), where there is none.
    """

    def __init__(
        self,
        name: SlotName,
        manifest: Manifest,
        manifest_path: Path,
        artifact_path: Path,
        content_key: bytes = b"",
        threads: int = 1,
        digest: str = "",
        environments: Environments = NO_ENVIRONMENTS,
        zygote: Zygote | None = None,
    ) -> None:
        verify_runnable(manifest)
        verify_key(manifest, content_key)
        self.name = name
        self.manifest, self.digest = manifest, digest
        self.runner: RunnerProcess | None = None
        self.failure: EdgewrightError | None = None
        self.cause = ""
        self.breaker = Breaker()
        self.stand_in = False
        self.retry_at = 0.0
        self.started_at = 0.0
        self._paths = (manifest_path, artifact_path)
        self._content_key, self._threads = content_key, threads
        self._environments, self._zygote = environments, zygote
        self._late_since: float | None = None
        self._late_in_a_row = 0
        self._gives_way = False

    @property
    def ready(self) -> bool:
        """Whether a warm runner waits for a request."""
        return self.failure is None and self.runner is not None and self.runner.idle

    @property
    def run_s(self) -> float:
        """How long the newest run took in the runtime, seconds."""
        return self.runner.last.run_us / 1e6 if self.runner else 0.0

    def start(self) -> None:
        """Start a runner, without waiting for it."""
        self.failure = None
        try:
            self.runner = RunnerProcess(
                self.manifest,
                *self._paths,
                self._content_key,
                self._threads,
                self._environments,
                self._zygote,
            )
        except OSError as error:
            self.note(RunnerCrashError(f"No runner can be started: {error.strerror}."))
        if self._gives_way:
            self.give_way()
        self.started_at = monotonic()
        self._late_since = None
        self._late_in_a_row = 0

    def stop(self) -> RunnerProcess | None:
        """Kill the runner and return it to be reaped."""
        runner, self.runner = self.runner, None
        if runner is not None:
            runner.kill()
        return runner

    def run(self, frame: NDArray[np.uint8], until: float) -> list[float] | str:
        """Logits of a frame, or the cause why there are none by the monotonic time ``until``."""
        self.poll()
        if not self.ready:
            return self._why_not()
        try:
            self.ask(frame)
            if self.runner is not None and self.runner.wait(until):
                self._late_in_a_row = 0
                return self.logits()
        except EdgewrightError as error:
            self.note(error)
            return error.name
        self._late_since = until
        return self._why_not()

    def give_way(self) -> None:
        """Let the runner, and those that replace it, leave the processor to whoever decides."""
        self._gives_way = True
        if self.runner is not None:
            self.runner.renice(SHADOW_NICE)

    def go_first(self) -> None:
        """Let the runner have the processor as the line has it."""
        if self._gives_way and self.runner is not None:
            self.runner.renice(os.getpriority(os.PRIO_PROCESS, 0))
        self._gives_way = False

    def ask(self, frame: NDArray[np.uint8]) -> None:
        """Send a frame to the idle runner.

        Raises:
            RunnerCrashError: the runner is gone.
        """
        assert self.runner is not None, "only a ready slot is asked"
        preprocess_into(frame, self.manifest.preprocessing, self.runner.frames.inputs)
        self.runner.ask()

    def logits(self) -> list[float]:
        """The output of the newest run."""
        assert self.runner is not None, "only a slot that has answered is read"
        logits: list[float] = self.runner.frames.output.ravel().tolist()
        return logits

    def poll(self) -> None:
        """Take what the runner has sent and note what is wrong with it."""
        if self.runner is None or self.failure is not None:
            return
        try:
            idle = self.runner.take()
            self.runner.watch(monotonic())
        except EdgewrightError as error:
            self.note(error)
            return
        if not self.runner.ready and monotonic() - self.started_at > START_LIMIT_S:
            self.note(RunnerHangError(f"The runner was not warm within {START_LIMIT_S:.0f} s."))
        if self._late_since is None:
            return
        if idle:
            self._late_since = None
            self._late_in_a_row += 1
        if self._late_in_a_row >= LATE_IN_A_ROW:
            self.note(RunnerSlowError(f"{LATE_IN_A_ROW} answers in a row came after their deadlines."))
        elif self._late_since is not None and monotonic() - self._late_since > HANG_GRACE_S:
            self.note(RunnerHangError(f"No answer within {HANG_GRACE_S} s after a frame's deadline."))

    def note(self, failure: EdgewrightError) -> None:
        """Note what went wrong with the runner; the line deals with it after the frame."""
        self.failure = failure
        self.cause = failure.name

    def _why_not(self) -> str:
        if self._late_since is not None:
            # Whether it hangs is known only later; frames after that are counted as what it is then.
            return RunnerSlowError().name
        return self.cause or "NotReady"


def verify_key(manifest: Manifest, content_key: bytes) -> None:
    """Check that an encrypted model came with a key.

    Raises:
        ConfidentialKeyError: it did not.
    """
    if manifest.encryption is not None and len(content_key) != KEY_BYTES:
        raise ConfidentialKeyError(f"The content key of {manifest.model} v{manifest.version} is missing.")


def verify_runnable(manifest: Manifest) -> None:
    """Check what the line itself relies on in a manifest.

    Raises:
        MalformedMessageError: preprocessing, tensors, labels and temperature do not fit each other.
    """
    outputs = int(np.prod(manifest.output.shape))
    if input_shape(manifest.preprocessing) != manifest.input.shape:
        raise MalformedMessageError("The manifest's preprocessing does not make the input's shape.")
    if outputs != len(manifest.labels) or not manifest.labels:
        raise MalformedMessageError(f"The manifest names {len(manifest.labels)} of {outputs} outputs.")
    if not manifest.temperature > 0:
        raise MalformedMessageError("The manifest's temperature is not above 0.")
