"""The line as the deployer sees it: what it holds, and the one order that it has not answered.

One order at a time: an answer can then never be taken for the answer to another order, whatever was
superseded in between. A Shadow or a Swap that nobody wants any more is called off by emptying the slot. Its
answer may be on its way nevertheless; it finds no order of its kind. A Load is always waited for: the answer
to one could be taken for the answer to the next.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

from edgewright.agent.control import Down, Held, Load, Shadow, SlotName, Swap, Unload
from edgewright.agent.journal import Journal
from edgewright.agent.qualifier import device_error
from edgewright.agent.slotplan import Holding, Told
from edgewright.wire.errors import EdgewrightError

Order = Load | Shadow | Swap


class Pending(NamedTuple):
    """An order without an answer.

    Attributes:
        kind: its class.
        slot, holding: what it is about.
        since: when it was sent, monotonic seconds.
    """

    kind: type[Order]
    slot: SlotName
    holding: Holding
    since: float


class LineOrders:
    """Orders to the running line.

    Args:
        send: hands an order to the line's process.
        monotonic: seconds that only grow.

    Attributes:
        up: whether a line listens.
    """

    def __init__(self, send: Callable[[Down], None], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._send, self._monotonic = send, monotonic
        self._loaded: dict[SlotName, str] = {}
        self._active: SlotName | None = None
        self._pending: Pending | None = None
        self.up = False

    @property
    def free(self) -> bool:
        """Whether an order may be sent."""
        return self.up and self._pending is None

    @property
    def pending(self) -> Pending | None:
        """The order that was not answered yet."""
        return self._pending

    @property
    def told(self) -> Told:
        """What the line holds."""
        return Told(dict(self._loaded), self._active)

    def restart(self, *, up: bool, held: tuple[Held, ...] = ()) -> None:
        """The line has started or ended, and holds nothing; or it was adopted, and holds something.

        What it holds as a candidate does not count: a candidate is qualified again after a restart.
        """
        decides = {"probation", "active"}
        self._loaded = {one.slot: one.digest for one in held if one.standing in {"warm", *decides}}
        self._active = next((one.slot for one in held if one.standing in decides), None)
        self._pending = None
        self.up = up

    def load(
        self,
        slot: SlotName,
        holding: Holding,
        manifest: str,
        artifact: str,
        *,
        stand_in: bool,
        content_key: bytes = b"",
        threads: int = 1,
    ) -> None:
        """Order a slot loaded; until the answer comes it holds nothing."""
        self._loaded.pop(slot, None)
        self._order(Load(slot, manifest, artifact, stand_in, content_key, threads, holding.digest), holding)

    def shadow(self, slot: SlotName, holding: Holding, frames: int) -> None:
        """Order a slot to run beside the active one."""
        self._order(Shadow(slot, frames), holding)

    def swap(self, slot: SlotName, holding: Holding, probation_frames: int) -> None:
        """Order a slot to decide."""
        self._order(Swap(slot, probation_frames), holding)

    def unload(self, slot: SlotName) -> None:
        """Order a slot emptied; there is no answer. A Shadow or a Swap of it is called off."""
        if self._pending is not None and self._pending.slot == slot and self._pending.kind is not Load:
            self._pending = None
        self.lost(slot)
        self._send(Unload(slot))

    def answered(self, slot: SlotName, kind: type[Order]) -> Holding | None:
        """Take the order that a slot answered; None where none of this kind was on its way to it."""
        pending = self._pending
        if pending is None or (pending.slot, pending.kind) != (slot, kind):
            return None
        self._pending = None
        return pending.holding

    def holds(self, slot: SlotName, holding: Holding) -> None:
        """The line said that a slot is loaded."""
        self._loaded[slot] = holding.digest

    def decides(self, slot: SlotName | None) -> None:
        """The line said which slot decides."""
        self._active = slot

    def lost(self, slot: SlotName) -> None:
        """The line said that a slot is empty."""
        self._loaded.pop(slot, None)
        if self._active == slot:
            self._active = None

    def _order(self, order: Order, holding: Holding) -> None:
        self._pending = Pending(type(order), order.slot, holding, self._monotonic())
        self._send(order)


def follow(
    held: tuple[Held, ...],
    journal: Journal,
    line: LineOrders,
    broke: Callable[[SlotName, EdgewrightError], None],
    proven: Callable[[SlotName], None],
) -> None:
    """Make the journal follow what an adopted line has done while no agent heard it.

    Args:
        held: what the line holds.
        journal: what is remembered.
        line: the deployer's orders.
        broke: what the deployer does where a slot's model was given up.
        proven: what it does where one is through its probation.
    """
    for one in held:
        kept = journal.slots()[one.slot]
        known = kept is not None and kept.release.manifest_sha256 == one.digest
        if one.standing == "broken" and known:
            broke(one.slot, device_error(one.error, one.detail))
        elif one.standing == "active" and known:
            proven(one.slot)
        elif one.standing in {"probation", "active"} and journal.device().active is None:
            # The journal vouches for nothing: better the fallback than a model that was refused.
            line.unload(one.slot)
            line.lost(one.slot)
        elif one.standing == "candidate":
            # It is qualified again before it is loaded again; until then its runner would only take memory.
            line.unload(one.slot)
