"""At start, without network: does a kept signature of the image repository name what each slot holds?

Signatures alone decide. Expiry and withdrawal do not: they block installs, and never stop a model that was
installed. The bytes of manifest and artifact are held against their digests when they are loaded (``store``).
"""

from collections.abc import Mapping
from typing import NamedTuple

from edgewright.agent.agreement import ImageTarget
from edgewright.agent.control import SlotName
from edgewright.agent.journal import Journal
from edgewright.agent.verifier.seam import ImageCatalogue
from edgewright.wire.errors import EdgewrightError, RepositoryError


class Held(NamedTuple):
    """What a slot holds, and the signatures over it."""

    target: ImageTarget
    proof: bytes | None


def held_in_slots(journal: Journal) -> dict[SlotName, Held]:
    """What has to be vouched for before a line gets it."""
    slots = {slot: held.assignment.target for slot, held in journal.slots().items() if held}
    return {slot: Held(target, journal.proof(target.sha256)) for slot, target in slots.items()}


def vouch_slots(
    repository: ImageCatalogue, slots: Mapping[SlotName, Held]
) -> dict[SlotName, EdgewrightError]:
    """The slots whose release no kept signature names, each with the refusal.

    Raises:
        VerifierError: nobody could verify; that says nothing about the models.
    """
    refused: dict[SlotName, EdgewrightError] = {}
    for slot, held in slots.items():
        try:
            repository.vouch(held.target, held.proof)
        except RepositoryError as error:
            refused[slot] = error
    return refused
