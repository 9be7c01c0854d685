"""``cell_latency_ms`` and ``cell_cpu_ms``: what the agent's own cell costs a picture.

A stream (RTSP, JPEG, 640 x 480, 30 pictures a second) is decided by a real line. The first figure is the
median time from a picture to its decision; its peer is a bare client of the cell socket that sends the same
pictures at the same pace, before the camera, on the same kind of line. The second is the cell's processor
time a picture; its peer is decoding one such picture in this process, which no reader of the stream can save.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgewright.agent.settings import SourceSettings
from edgewright.wire.cell import Frame
from simulators.camera.rtsp import RtspCamera
from tests.agent.cell_rig import picture, running_cell
from tests.agent.line_rig import running_line
from tests.agent.tiny_models import write_release

PICTURES_A_SECOND = 30
SECONDS = 10
WIDTH, HEIGHT = 640, 480
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def run() -> Iterator[dict[str, object]]:
    """Measure; two dictionaries."""
    pictures = [picture(seed, WIDTH, HEIGHT) for seed in range(8)]
    encoded = [cv2.imencode(".jpg", shown)[1] for shown in pictures]
    with tempfile.TemporaryDirectory() as folder:
        bare = _bare_latencies(Path(folder), [shown.tobytes() for shown in pictures])
    with tempfile.TemporaryDirectory() as folder:
        latencies, cpu_ms = _of_the_cell(Path(folder), pictures)
    yield {
        "name": "cell_latency_ms",
        "value": round(statistics.median(latencies), 2),
        "unit": "ms",
        "peer": "bare client of the cell socket, same pictures",
        "peer_value": round(statistics.median(bare), 2),
        "ratio": round(statistics.median(latencies) / statistics.median(bare), 2),
        "p99": round(statistics.quantiles(latencies, n=100)[98], 2),
        "peer_p99": round(statistics.quantiles(bare, n=100)[98], 2),
        "pictures_a_second": round(len(latencies) / SECONDS, 1),
    }
    began = time.process_time()
    for number in range(200):
        cv2.imdecode(encoded[number % len(encoded)], cv2.IMREAD_COLOR)
    decoding_ms = (time.process_time() - began) / 200 * 1000
    yield {
        "name": "cell_cpu_ms",
        "value": round(cpu_ms, 2),
        "unit": "ms a picture",
        "peer": "decoding the JPEG alone",
        "peer_value": round(decoding_ms, 2),
        "ratio": round(cpu_ms / decoding_ms, 2),
    }


def _bare_latencies(folder: Path, pictures: list[bytes]) -> list[float]:
    """Milliseconds from sending a frame to its decision."""
    latencies = []
    with running_line(folder) as line:
        line.run("a", write_release(folder, 1))
        line.connect()
        for number in range(PICTURES_A_SECOND * SECONDS):
            pixels = pictures[number % len(pictures)]
            began = time.monotonic()
            line.send_raw(Frame(item=str(number), deadline_ms=1000, shape=(HEIGHT, WIDTH, 3), pixels=pixels))
            line.decision()
            latencies.append((time.monotonic() - began) * 1000)
            time.sleep(max(0.0, 1 / PICTURES_A_SECOND - (time.monotonic() - began)))
    return latencies


def _of_the_cell(folder: Path, pictures: list[NDArray[np.uint8]]) -> tuple[list[float], float]:
    """Milliseconds from a picture to its decision, and the cell's processor time a picture."""
    camera = RtspCamera(lambda number: pictures[number % len(pictures)], PICTURES_A_SECOND)
    source = SourceSettings(kind="rtsp", place=camera.address, deadline_ms=1000)
    with running_line(folder) as line:
        line.run("a", write_release(folder, 1))
        with running_cell(folder, source) as cell:
            before, cpu_before = len(cell.decided(PICTURES_A_SECOND)), _cpu_ms(cell.process.pid)
            time.sleep(SECONDS)
            records, cpu = cell.records()[before:], _cpu_ms(cell.process.pid) - cpu_before
    camera.unplug()
    return [(each["decided_at"] - each["taken_at"]) * 1000 for each in records], cpu / len(records)


def _cpu_ms(pid: int) -> float:
    """Processor time of a process, user and system (proc(5), fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / _TICKS_A_SECOND
