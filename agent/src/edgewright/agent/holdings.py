"""What the line shall hold and what the store has to keep, by the journal and the deployment under way."""

from typing import Final

from edgewright.agent.journal import Deployment, Journal
from edgewright.agent.slotplan import Candidate, Holding, Wanted
from edgewright.wire.deployment import State

KEPT_COMMITTED: Final = 2
"""Committed releases beside the slots' whose files stay: bases of patches, and ways back."""

WITH_LINE: Final = frozenset({State.SHADOWING, State.WAITING_SAFE})
"""States in which a candidate is in the line's hands and does not decide yet."""


def wanted(journal: Journal, current: Deployment | None) -> Wanted:
    """What the line shall hold."""
    slots = {
        slot: Holding(held.id, held.release.manifest_sha256, held.state is State.COMMITTED) if held else None
        for slot, held in journal.slots().items()
    }
    candidate = None
    if current and current.slot and current.state in WITH_LINE:
        holding = Holding(current.id, current.release.manifest_sha256, proven=False)
        candidate = Candidate(current.slot, holding, current.state is State.WAITING_SAFE)
    return Wanted(journal.device().active, slots, candidate)


def needed(journal: Journal, current: Deployment | None) -> set[str]:
    """Manifests of the releases whose files the slots, the current deployment or the last commits need."""
    keep = [held for held in journal.slots().values() if held]
    keep += [current] if current else []
    committed = [item for item in journal.deployments(50) if item.state is State.COMMITTED]
    keep += committed[:KEPT_COMMITTED]
    return {item.release.manifest_sha256 for item in keep}
