"""What is done at each connection to the broker: whatever it may have lost lies there again.

The publisher looks whether the broker still has the chunks: a restart of this process or a connection that
was lost for a moment costs a look, and a broker that lost its store gets everything. Metadata and assignments
are small and are published at each start.

A version of which something is damaged on disk holds up nothing else. It is told once as an event, with what
to do, and tried again by a timer: once a person has put the file back, nobody has to start anything.
"""

from collections.abc import Callable
from typing import Final

from edgewright.controller.database import col, select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import Artifact
from edgewright.controller.errors import DataFolderDamagedError
from edgewright.controller.events import record
from edgewright.controller.publisher import Damaged, Publisher
from edgewright.controller.retirement import Retirement
from edgewright.controller.rollouts.assigner import Assigner
from edgewright.controller.trust.repository import ImageRepository

ASSIGNMENT_RENEWAL_S = 24 * 3600.0
"""An assignment is issued again when it is so old; it is good for seven days."""

RETRY_S: Final = 300.0
"""What could not be done at a connection is tried again so much later."""

DAMAGED: Final = "version.damaged"


class Republishing:
    """See the module's text.

    Args:
        db: says which version a release is of, and takes the events.
        repository: signed metadata; documents may have come of age while the controller was down.
        publisher: the broker.
        retirement: says what is live.
        assigner: issues assignments again that are old, or behind the director's newest root.
        director_roots: how many roots the director has.

    Attributes:
        knows_live: whether the publisher has had every live release since this process began. What shares
            chunks with what is known only then; nothing is cleared before.
    """

    def __init__(
        self,
        db: Database,
        repository: ImageRepository,
        publisher: Publisher,
        retirement: Retirement,
        assigner: Assigner,
        director_roots: Callable[[], int],
    ) -> None:
        self._db = db
        self._repository = repository
        self._publisher = publisher
        self._retirement = retirement
        self._assigner = assigner
        self._director_roots = director_roots
        self._told: Damaged = {}
        self.knows_live = False

    def run(self) -> None:
        """Chunks, metadata, what is retired, and at last the assignments.

        Raises:
            BrokerUnreachableError: the broker did not take everything; calling again is harmless.
            DataFolderDamagedError: a version is damaged; everything else was done.
            DirectorUnavailableError: the director does not sign.
        """
        self._repository.renew()
        damaged = self._publisher.republish_all(self._retirement.live_manifests())
        self.knows_live = True
        damaged |= self._retirement.clear_again()
        damaged |= self._retirement.step()
        self._tell(damaged)
        self._assigner.renew(ASSIGNMENT_RENEWAL_S)
        self._assigner.renew_behind(self._director_roots())
        # Read only now: while the chunks were published, newer assignments may have been issued.
        self._assigner.republish()
        if damaged:
            raise DataFolderDamagedError(f"{len(damaged)} releases could not be published whole.")

    def retire(self) -> None:
        """Retire what is due; for the time between connections, after the first.

        Raises:
            BrokerUnreachableError: the broker did not take it; it is done at the next connection.
        """
        if self.knows_live:
            self._tell(self._told | self._retirement.step())

    def _tell(self, damaged: Damaged) -> None:
        """One event for each release that was not told yet; what has been mended may be told again."""
        fresh = {name: error for name, error in damaged.items() if name not in self._told}
        with self._db.session() as session:
            for manifest, error in fresh.items():
                mine = select(Artifact).where(col(Artifact.manifest_sha256) == manifest)
                row = session.exec(mine).first()
                if row is None:
                    continue  # of a build that is under way, which says itself what it meets
                said = (
                    f"{row.model} v{row.version} for {row.target} is not whole on the broker: "
                    f"{error.sentence} {error.remedy} It is tried again every {RETRY_S / 60:.0f} minutes."
                )
                record(session, DAMAGED, said, model=row.model, version=row.version)
        self._told = damaged
