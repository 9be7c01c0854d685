"""What is done at each connection to the broker: whatever it may have lost lies there again.

The publisher looks whether the broker still has the chunks: a restart of this process or a connection that
was lost for a moment costs a look, and a broker that lost its store gets everything. Metadata and assignments
are small and are published at each start.
"""

from edgewright.controller.publisher import Publisher
from edgewright.controller.retirement import Retirement
from edgewright.controller.rollouts.assigner import Assigner
from edgewright.controller.trust.repository import ImageRepository

ASSIGNMENT_RENEWAL_S = 24 * 3600.0
"""An assignment is issued again when it is so old; it is good for seven days."""


def republish(
    repository: ImageRepository,
    publisher: Publisher,
    retirement: Retirement,
    assigner: Assigner,
    director_roots: int,
) -> None:
    """Chunks, metadata, what is retired, and at last the assignments.

    Args:
        repository: signed metadata; documents may have come of age while the controller was down.
        publisher: the broker.
        retirement: says what is live.
        assigner: issues assignments again that are old, or behind the director's newest root.
        director_roots: how many roots the director has.

    Raises:
        BrokerUnreachableError: the broker did not take everything; calling again is harmless.
        DataFolderDamagedError: a blob is not here, or has changed.
        DirectorUnavailableError: the director does not sign.
    """
    repository.renew()
    publisher.republish_all(retirement.live_manifests())
    retirement.clear_again()
    retirement.step()
    assigner.renew(ASSIGNMENT_RENEWAL_S)
    assigner.renew_behind(director_roots)
    # Read only now: while the chunks were published, newer assignments may have been issued.
    assigner.republish()
