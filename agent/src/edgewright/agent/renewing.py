"""When the certificate is renewed: looked at with every tick, done by a process of its own (``renewal``).

A renewal that fails is told once and tried again; the old certificate holds until it ends, and nothing of
this touches the model.
"""

import logging
import subprocess
import time
from collections.abc import Callable
from typing import Final

from edgewright.agent.identity import Identity, renew_command
from edgewright.agent.settings import Settings
from edgewright.wire.errors import EdgewrightError, IdentityError, RenewalRefusedError

RETRY_SECONDS: Final = 3600.0

log = logging.getLogger(__name__)


class RenewalWatch:
    """Starts the renewing process and hears of its end; used by one thread.

    Args:
        settings: the device's.
        renewed: a new identity is in force.
        failed: takes the error of a renewal that failed, once until one succeeds.
    """

    def __init__(
        self, settings: Settings, renewed: Callable[[], None], failed: Callable[[EdgewrightError], None]
    ) -> None:
        self._settings, self._renewed, self._failed = settings, renewed, failed
        self._process: subprocess.Popen[bytes] | None = None
        self._not_before = 0.0
        self._told = False

    def watch(self, identity: Identity, now: float) -> None:
        """Look at a running renewal, or start one that is due; ``now`` is trusted time."""
        if self._process is not None:
            self._look(self._process)
        elif self._settings.door and identity.due(now) and time.monotonic() >= self._not_before:
            self._process = subprocess.Popen(renew_command(self._settings), stdin=subprocess.DEVNULL)

    def stop(self) -> None:
        """End a renewal that runs; the old identity or the new one is in force."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _look(self, process: subprocess.Popen[bytes]) -> None:
        status = process.poll()
        if status is None:
            return
        self._process = None
        if status == 0:
            self._told = False
            self._renewed()
            return
        self._not_before = time.monotonic() + RETRY_SECONDS
        if not self._told:
            self._told = True
            kind = RenewalRefusedError if status == RenewalRefusedError.number else IdentityError
            self._failed(kind(f"The certificate was not renewed: exit status {status}."))
