"""The product's detectors and its peers over the same streams; alarms are frames, as a peer counts them.

The product's detectors see windows of ``FRAMES_A_WINDOW`` frames. Their reference is the first ``REFERENCE``
frames of the stream, as the product has a reference profile; its uncertainty is part of the evidence. The
inflation of confidences is measured from those windows and the ones after them, always before it is used.
The run length asked for is ``RUN_LENGTH`` windows. After an alarm a detector starts anew against the same
reference. Peers see every frame of the stream, and the same ones.
"""

import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import inf, isfinite
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgewright.controller.evidence.blocking import Blocking
from edgewright.controller.evidence.edetector import EDetector, ErrorRateDetector, MeanDetector
from edgewright.wire.histograms import SCHEMAS, Histogram
from tests.benchmarks.drift_streams import BEFORE
from tests.benchmarks.peer_environments import PeerError, last_line, python_of

Floats = NDArray[np.float64]
Alarms = dict[str, list[list[int]]]

D = TypeVar("D", bound=EDetector)

OURS: Final = "edgewright"
FRAMES_A_WINDOW: Final = 10
REFERENCE: Final = 4000
RUN_LENGTH: Final = 5000
"""Windows: a false alarm in 50,000 frames at most, on average, which is 0.2 in 10,000."""

CHUNK: Final = 50
"""Windows between two measurements of the inflation."""

PEERS: Final = ("river", "frouros")
LONGEST_S: Final = 3600
_EDGES: Final = np.array(SCHEMAS["confidence"].edges)


class Outcome(NamedTuple):
    """What one detector did on the streams of one kind.

    Attributes:
        streams: how many it saw.
        detected: share of them with an alarm after the change, in time.
        median: frames from the change to the first alarm after it; infinite where most had none.
        spread: the 10th and the 90th percentile.
        false_10k: alarms before the change per 10,000 frames that were watched.
    """

    streams: int
    detected: float
    median: float
    spread: tuple[float, float]
    false_10k: float

    def row(self) -> dict[str, object]:
        """For a report; None where a number is infinite."""
        numbers = (self.median, *self.spread)
        median, low, high = (round(x, 1) if isfinite(x) else None for x in numbers)
        return {
            "streams": self.streams,
            "detected": round(self.detected, 3),
            "median": median,
            "p10_p90": [low, high],
            "false_10k": round(self.false_10k, 3),
        }


def outcome(alarms: Sequence[Sequence[int]], change: int, watched_from: int, within: int) -> Outcome:
    """Judge alarms that are frames from the stream's start."""
    delays = [min((a - change for a in row if change < a <= change + within), default=inf) for row in alarms]
    early = sum(a <= change for row in alarms for a in row)
    low, median, high = np.quantile(delays, (0.1, 0.5, 0.9), method="inverted_cdf")
    return Outcome(
        streams=len(alarms),
        detected=float(np.mean(np.isfinite(delays))),
        median=float(median),
        spread=(float(low), float(high)),
        false_10k=early / (len(alarms) * (change - watched_from)) * 1e4,
    )


def error_alarms(stream: Floats, run_length: float = RUN_LENGTH) -> list[int]:
    """Alarms of the error detector."""
    blocks = stream[REFERENCE:].reshape(-1, FRAMES_A_WINDOW).sum(axis=1)

    def make() -> ErrorRateDetector:
        return ErrorRateDetector.from_sample(REFERENCE, int(stream[:REFERENCE].sum()), run_length)

    def observe(detector: ErrorRateDetector, part: slice, at: list[float]) -> None:
        detector.observe([FRAMES_A_WINDOW] * len(at), blocks[part].tolist(), at)

    return _alarms(make, observe, len(blocks))


def confidence_alarms(stream: Floats, run_length: float = RUN_LENGTH, *, measured: bool = True) -> list[int]:
    """Alarms of the detector of fallen confidence; without ``measured`` frames are taken as independent."""
    windows = histograms(stream)
    tested, windows = windows[: REFERENCE // FRAMES_A_WINDOW], windows[REFERENCE // FRAMES_A_WINDOW :]
    reference = Histogram("confidence")
    for window in tested:
        reference.merge(window)
    blocking = Blocking()
    if measured:
        blocking.observe_histograms(tested)
    first = blocking.inflation

    def make() -> MeanDetector:
        return MeanDetector.from_histogram(reference, run_length, inflation=first, falling=True)

    def observe(detector: MeanDetector, part: slice, at: list[float]) -> None:
        detector.observe_histograms(windows[part], at, inflation=blocking.inflation)
        if measured:
            blocking.observe_histograms(windows[part])

    return _alarms(make, observe, len(windows))


def histograms(stream: Floats) -> list[Histogram]:
    """The windows of a stream of confidences."""
    bins = np.searchsorted(_EDGES, stream, side="right").reshape(-1, FRAMES_A_WINDOW)
    return [Histogram("confidence", np.bincount(row, minlength=64).tolist()) for row in bins]


def _alarms(
    make: Callable[[], D], observe: Callable[[D, slice, list[float]], None], windows: int
) -> list[int]:
    found: list[int] = []
    detector = make()
    for start, end in pairwise([*range(0, windows, CHUNK), windows]):
        at = (REFERENCE + FRAMES_A_WINDOW * np.arange(start + 1, end + 1)).astype(np.float64).tolist()
        observe(detector, slice(start, end), at)
        if isfinite(detector.alarmed_at):
            found.append(int(detector.alarmed_at))
            # What was left of the chunk is not seen again: less than 500 frames an alarm.
            detector = make()
    return found


def peer_alarms(
    streams: dict[str, Floats], peers: Sequence[str] = PEERS
) -> tuple[dict[str, Alarms], list[str]]:
    """Alarms of every peer by array and detector, and why peers are missing."""
    alarms: dict[str, Alarms] = {name: {} for name in streams}
    missing = []
    with tempfile.TemporaryDirectory(prefix="edgewright-drift-") as folder:
        given, told = Path(folder, "streams.npz"), Path(folder, "alarms.json")
        np.savez(given, allow_pickle=False, **streams)
        for peer in peers:
            try:
                run_peer(peer, f"detect_with_{peer}.py", given, told)
            except PeerError as error:
                missing.append(f"{peer} {error}")
                continue
            for name, found in json.loads(told.read_text()).items():
                alarms[name].update(found)
    return alarms, missing


def run_peer(peer: str, script: str, *arguments: Path) -> None:
    """Run a script in a peer's environment.

    Raises:
        PeerError: it did not come to its end.
    """
    command = [python_of(peer), Path(__file__).with_name("peers") / script, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise PeerError(f"gave nothing within {LONGEST_S} s") from error
    if done.returncode:
        raise PeerError(last_line(done.stderr))


def judged(
    alarms: dict[str, Alarms], name: str, ours: list[list[int]], within: int, change: int = BEFORE
) -> dict[str, Outcome]:
    """Outcomes of all detectors on one array; the product's first."""
    found = {OURS: outcome(ours, change, REFERENCE, within)}
    for peer, rows in alarms[name].items():
        found[peer] = outcome(rows, change, 0, within)
    return found
