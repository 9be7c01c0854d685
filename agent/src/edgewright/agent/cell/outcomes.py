"""Truths on a topic of the cell's broker, told by a scanner, a gripper or an operator; see ``truths``."""

from edgewright.agent.cell.truths import Truths, outcomes_of_json
from edgewright.agent.link import Link
from edgewright.wire.errors import MalformedTruthError


class OutcomeTopic:
    """Passes on what a topic says: a truth, or an array of them, a payload."""

    def __init__(self, topic: str, link: Link, truths: Truths) -> None:
        self._place, self._truths = f"topic {topic}", truths
        link.subscribe(topic, self._take, 1)

    def _take(self, payload: bytes) -> None:
        """Called on the network thread."""
        try:
            right, wrong = outcomes_of_json(payload)
        except MalformedTruthError as error:
            self._truths.complain(self._place, 1, error.sentence)
            return
        self._truths.push(right)
        if wrong:
            self._truths.complain(self._place, len(wrong), wrong[0][1])
