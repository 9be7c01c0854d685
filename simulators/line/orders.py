"""What a cell can be told while it runs: one JSON object a line, with any of the entries of ``Order``.

    {"phase": "drifted"}                           the company's two new kinds come
    {"tag": "tops", "kinds": ["T-shirt", "Shirt"]} a changeover: another SKU, and what lies on the belt then
    {"optics": "dirty-lens"}                       one of ``OPTICS``; "clean" puts everything right again
    {"conditions": {"brightness": [0.4, 0.5]}}     single ranges of ``render.Conditions``, from now on
    {"relabel": {"Bag": "Trouser"}}                from now on bags belong into the trousers' carton
    {"scanner_wrong": 0.1}                         share of the scans that tell another class
    {"stop": true}

>>> read_order(b'{"tag": "shirts", "kinds": ["Shirt"]}').kinds
('Shirt',)
"""

from dataclasses import fields, replace
from typing import Final

import msgspec

from simulators.line.goods import Phase
from simulators.line.render import BASELINE, Conditions, Range

OPTICS: Final = {
    "clean": BASELINE,
    "dirty-lens": replace(BASELINE, blur_px=(2.2, 3.0), contrast=(0.5, 0.6)),
    "dim-lamp": replace(BASELINE, brightness=(0.38, 0.5)),
    "bright-lamp": replace(BASELINE, brightness=(1.7, 2.1)),
    "flat-light": replace(BASELINE, contrast=(0.65, 0.75)),
    "noisy-sensor": replace(BASELINE, noise=(24.0, 32.0)),
    "loose-mount": replace(BASELINE, shift_px=(-16.0, 16.0), rotation_deg=(-35.0, 35.0)),
}
"""What becomes of a camera and its lamp, by name."""


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One order; what is None stays as it is.

    Attributes:
        stop: end, after the last item's decision.
        phase: what the company sends down the belt.
        tag: SKU in the frames from now on; empty for none.
        kinds: only these lie on the belt, evenly; empty for those of the phase.
        optics: name in ``OPTICS``; replaces all conditions.
        conditions: ranges that replace single ones, after ``optics``.
        relabel: classes that from now on count as another one, for decisions and scans; empty for none.
        scanner_wrong: share of the scans that tell another class than the true one.
    """

    stop: bool = False
    phase: Phase | None = None
    tag: str | None = None
    kinds: tuple[str, ...] | None = None
    optics: str | None = None
    conditions: dict[str, Range] | None = None
    relabel: dict[str, str] | None = None
    scanner_wrong: float | None = None

    def conditions_after(self, before: Conditions) -> Conditions:
        """What the scenes are drawn from after this order.

        Raises:
            ValueError: it names optics or a range that do not exist.
        """
        if self.optics is not None and self.optics not in OPTICS:
            raise ValueError(f"The optics are one of {', '.join(OPTICS)}, not {self.optics}.")
        after = before if self.optics is None else OPTICS[self.optics]
        unknown = set(self.conditions or {}) - {each.name for each in fields(Conditions)}
        if unknown:
            raise ValueError(f"There is no range {', '.join(sorted(unknown))}.")
        return replace(after, **(self.conditions or {}))


def read_order(line: bytes) -> Order:
    """Read one line.

    Raises:
        msgspec.DecodeError: it is no order.
    """
    return msgspec.json.decode(line, type=Order)
