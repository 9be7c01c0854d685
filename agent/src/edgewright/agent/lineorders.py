"""The line as the deployer sees it: what it holds, and the one order that it has not answered.

One order at a time: an answer can then never be taken for the answer to another order, whatever was
superseded in between.
"""

from collections.abc import Callable

from edgewright.agent.control import Down, Load, Shadow, SlotName, Swap, Unload
from edgewright.agent.slotplan import Holding, Told


class LineOrders:
    """Orders to the running line.

    Args:
        send: hands an order to the line's process.

    Attributes:
        up: whether a line listens.
    """

    def __init__(self, send: Callable[[Down], None]) -> None:
        self._send = send
        self._loaded: dict[SlotName, str] = {}
        self._active: SlotName | None = None
        self._pending: tuple[SlotName, Holding] | None = None
        self.up = False

    @property
    def free(self) -> bool:
        """Whether an order may be sent."""
        return self.up and self._pending is None

    @property
    def told(self) -> Told:
        """What the line holds."""
        return Told(dict(self._loaded), self._active)

    def restart(self, *, up: bool) -> None:
        """The line has started or ended: it holds nothing."""
        self._loaded.clear()
        self._active, self._pending = None, None
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
        self._order(Load(slot, manifest, artifact, stand_in, content_key, threads), holding)

    def shadow(self, slot: SlotName, holding: Holding, frames: int) -> None:
        """Order a slot to run beside the active one."""
        self._order(Shadow(slot, frames), holding)

    def swap(self, slot: SlotName, holding: Holding, probation_frames: int) -> None:
        """Order a slot to decide."""
        self._order(Swap(slot, probation_frames), holding)

    def unload(self, slot: SlotName) -> None:
        """Order a slot emptied; there is no answer."""
        self._loaded.pop(slot, None)
        self._send(Unload(slot))

    def answered(self, slot: SlotName) -> Holding | None:
        """Take the order that a slot answered; None where none was on its way to it."""
        if self._pending is None or self._pending[0] != slot:
            return None
        (_, holding), self._pending = self._pending, None
        return holding

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

    def _order(self, order: Load | Shadow | Swap, holding: Holding) -> None:
        self._pending = (order.slot, holding)
        self._send(order)
