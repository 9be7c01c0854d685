"""``health_page_10k_cpu_s``: what one look at the seven answers costs with 10,000 devices.

A database with 10,000 devices that run one version, a whole reference profile and six windows of each with
all signals and labels. Measured is the processor time of the page as a browser gets it: facts, answers,
pictures and HTML; the median of looks after the first, as a live page looks once a second. ``first_cpu_s`` is
the first look, which fits the calibration and unpacks histograms. Nobody else answers these questions in one
page, so there is no peer; wanted is at most 1 s.
"""

import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edgewright.controller.people.person import Person
from edgewright.controller.people.roles import Role
from edgewright.controller.web.references import References
from edgewright.controller.web.rendering import render
from edgewright.controller.web.views import VIEWS, Source
from tests.controller.health_line import MODEL, Line, fill
from tests.controller.parts import Parts, make_parts

DEVICES: Final = 10_000
SECONDS: Final = 60
LOOKS: Final = 7


def run() -> Iterator[dict[str, object]]:
    """Measure; one dictionary."""
    with tempfile.TemporaryDirectory() as folder:
        parts = make_parts(Path(folder))
        now = time.time()
        bad = f"robot-{random.Random(1).randrange(1, DEVICES)}"
        fill(parts, Line(devices=DEVICES, seconds=SECONDS, bad=bad), now)
        first, *looks = [_look(parts, now) for _ in range(LOOKS + 1)]
        parts.db.close()
    yield {
        "name": "health_page_10k_cpu_s",
        "value": round(statistics.median(looks), 3),
        "unit": "s",
        "first_cpu_s": round(first, 3),
        "windows": DEVICES * SECONDS // Line.period,
        "spread": [round(min(looks), 3), round(max(looks), 3)],
    }


def _look(parts: Parts, now: float) -> float:
    began = time.process_time()
    person = Person("local", "local admin", Role.ADMIN)
    view = VIEWS["health"]
    context = view.load(Source(parts, References(parts.blobs), now, person), MODEL, 900)
    render(view.template, {**context, "live": "/live/health"})
    return time.process_time() - began
