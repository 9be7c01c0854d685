"""A line without frames: it answers the supervisor's orders as a healthy line does, or as a test wants it."""

from collections import deque

from edgewright.agent import control
from edgewright.agent.control import SlotName


class LineStub:
    """Answers to orders, collected until a test hands them over.

    Attributes:
        orders: all orders, in order.
        answers: what the line has said and nobody has heard yet.
        active: the slot that decides.
        loaded: the artifact path in each slot.
        refuse: orders to answer as failed, by class, with error number and sentence.
        silent: orders to leave without an answer, by class.
        proves: whether a swapped slot passes its probation at once; else ``prove`` or ``break_active``.
    """

    def __init__(self) -> None:
        self.orders: list[control.Down] = []
        self.answers: deque[control.Up] = deque()
        self.active: SlotName | None = None
        self.loaded: dict[SlotName, str] = {}
        self.refuse: dict[type[control.Down], tuple[int, str]] = {}
        self.silent: set[type[control.Down]] = set()
        self.proves = True

    def send(self, order: control.Down) -> None:
        """Take an order."""
        self.orders.append(order)
        if type(order) in self.silent:
            return
        error, detail = self.refuse.get(type(order), (0, ""))
        match order:
            case control.Load():
                if not error:
                    self.loaded[order.slot] = order.artifact_path
                self._say(control.Loaded(slot=order.slot, ok=not error, error=error, detail=detail))
            case control.Shadow():
                self._say(
                    control.Shadowed(
                        slot=order.slot, ok=not error, error=error, detail=detail, frames=order.frames
                    )
                )
            case control.Swap():
                self._swap(order, error, detail)
            case control.Unload():
                self.loaded.pop(order.slot, None)
                self.active = None if self.active == order.slot else self.active
            case control.Stop():
                pass

    def break_active(self, error: int = 45, detail: str = "The runner crashed three times.") -> None:
        """The active slot's runner fails for good; the other slot decides, if it holds a model."""
        broken = self.active
        assert broken is not None
        del self.loaded[broken]
        self.active = next(iter(self.loaded), None)
        self._say(control.Broke(slot=broken, error=error, detail=detail, now_active=self.active))

    def prove(self) -> None:
        """The probation of the active slot is over."""
        assert self.active is not None
        self._say(control.Proven(self.active))

    def _swap(self, order: control.Swap, error: int, detail: str) -> None:
        if error:
            self.loaded.pop(order.slot, None)
            self._say(control.Broke(slot=order.slot, error=error, detail=detail, now_active=self.active))
            return
        self.active = order.slot
        self._say(control.Swapped(order.slot, 1500))
        if self.proves or not order.probation_frames:
            self._say(control.Proven(order.slot))

    def _say(self, message: control.Up) -> None:
        self.answers.append(message)
