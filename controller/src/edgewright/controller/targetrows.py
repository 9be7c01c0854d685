"""The table of targets as plain rows: what the API, the command line and the page show of it."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from edgewright.controller.compiler.targets import SHIPPED, Table
from edgewright.controller.database.tables import Device
from edgewright.controller.matching import fitting


def target_rows(table: Table, devices: Sequence[Device]) -> list[dict[str, Any]]:
    """A row for each target, those that models can be compiled for first; the fields are ``TargetView``'s."""
    enrolled = Counter(device.target for device in devices)
    fit = fitting(devices, table.target)
    return [
        *(
            {
                **msgspec.to_builtins(target),
                "qualified": True,
                "missing": "",
                "site": SHIPPED.target.get(name) != target,
                "enrolled": enrolled[name],
                "fitting": fit[name],
            }
            for name, target in table.target.items()
        ),
        *(
            {
                **msgspec.to_builtins(target),
                "qualified": False,
                "site": SHIPPED.described.get(name) != target,
                "enrolled": enrolled[name],
            }
            for name, target in table.described.items()
        ),
    ]


def runtime_text(runtime: dict[str, Any]) -> str:
    """A runtime with its versions and provider, in words.

    >>> runtime_text({"name": "litert", "minimum": "2.1", "below": "3.0", "provider": "XNNPACK"})
    'litert 2.1 to below 3.0, XNNPACK'
    """
    return f"{runtime['name']} {runtime['minimum']} to below {runtime['below']}, {runtime['provider']}"
