"""Which documents come in: signed by the director, for this device, newer than the accepted one.

A refused document changes nothing but the list of reports, and is reported once however often the broker
delivers it again.
"""

import time

from edgewright.agent.agreement import Assignment, Standing, verify_order
from edgewright.agent.journal import Journal
from edgewright.agent.ledger import Ledger
from edgewright.agent.trust import Director
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.errors import EdgewrightError


class Gate:
    """Reads documents for one device.

    Args:
        device, target: this device.
        journal: what it has accepted before.
        ledger: where refusals are reported.
        director: verifies signatures.
    """

    def __init__(
        self, device: str, target: str, journal: Journal, ledger: Ledger, director: Director
    ) -> None:
        self._device, self._target = device, target
        self._journal, self._ledger, self._director = journal, ledger, director
        self._refused = ""

    def standing(self) -> Standing:
        """What the device knows now; its time is never below what a signed document has told."""
        record = self._journal.device()
        return Standing(
            self._device,
            self._target,
            record.version,
            record.sha256,
            max(time.time(), record.clock),
            self._journal.floors(),
            record.seen,
        )

    def read(self, raw: bytes) -> Assignment | None:
        """A new assignment that this device may act on; None for a known or a refused document."""
        try:
            assignment = self._director.read(raw)
            return assignment if verify_order(assignment, self.standing()) else None
        except EdgewrightError as error:
            digest = sha256_hex(raw)
            if digest != self._refused:
                self._refused = digest
                self._ledger.note(error)
            return None
