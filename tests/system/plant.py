"""A small plant of real processes: what the system tests break on purpose."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import psutil

from edgewright.controller.datadir import read_endpoint
from edgewright.controller.errors import ControllerUnreachableError
from simulators.demo.fleet import Cell, Process, enrol, start_agent, start_controller

MODEL: Final = "garment-packing"
MODEL_FOLDER: Final = Path(__file__).parents[2] / "models" / MODEL
HANG_S: Final = 60.0
TICK_S: Final = 0.1


class Plant:
    """A controller and some robots on one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.logs.mkdir(parents=True)
        self.data = folder / "controller"
        self.controller = start_controller(self.data, self.logs / "controller.log")
        self.agents: dict[str, Process] = {}
        self.cells: dict[str, Cell] = {}
        self.wait("the controller", self.answers)

    def close(self) -> None:
        """End everything, cells first, so that their last frames are decided."""
        for process in (*self.cells.values(), *self.agents.values(), self.controller):
            process.end()

    def answers(self) -> bool:
        """Whether the controller's API answers."""
        try:
            return httpx.get(f"{read_endpoint(self.data).api}/api/v1/health", timeout=2).is_success
        except (httpx.TransportError, ControllerUnreachableError):
            return False

    def restart_controller(self) -> None:
        """Start the controller again on its folder."""
        (self.data / "endpoint.json").unlink(missing_ok=True)
        self.controller = start_controller(self.data, self.logs / "controller.log")
        self.wait("the controller", self.answers)

    def add_robot(self, robot: str, target: str, tags: Mapping[str, str] | None = None) -> None:
        """Enrol a robot, start its agent and its cell."""
        self.enrol_robot(robot, target, tags or {"line": "a"})
        self.start_robot(robot)

    def enrol_robot(
        self, robot: str, target: str, tags: Mapping[str, str], bound: Mapping[str, str] | None = None
    ) -> Path:
        """Enrol a robot with tags of its own, and with those of its token; its configuration."""
        token = self.post("/tokens", {"tags": dict(bound or {})})["token"]
        enrol(self.folder / robot, read_endpoint(self.data).door, token, target, tags)
        return self.folder / robot / "agent.toml"

    def start_robot(self, robot: str) -> None:
        """Start an enrolled robot's agent and its cell."""
        self.start_agent(robot)
        seed = sum(robot.encode())
        socket = self.folder / robot / "cell.sock"
        self.cells[robot] = Cell(robot, socket, seed, 20.0, self.logs / f"cell-{robot}.log")

    def start_agent(self, robot: str) -> None:
        """Start, or start again, a robot's agent."""
        self.agents[robot] = start_agent(self.folder / robot, self.logs / f"{robot}.log")

    def edgewright(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line against this controller."""
        command = [str(Path(sys.executable).parent / "edgewright"), *arguments, "--data", str(self.data)]
        return subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, check=False)

    def push(self, *options: str, model: Path = MODEL_FOLDER) -> int:
        """Push the model with a rollout to the whole fleet; returns the version once it is ready."""
        before = len(self.versions())
        answer = self.edgewright("push", str(model), "--rollout", *options)
        assert answer.returncode == 0, answer.stderr
        self.wait("the version", lambda: len(self.versions()) > before)
        newest: int = max(version["version"] for version in self.versions())
        return newest

    def versions(self) -> list[dict[str, Any]]:
        """All versions of the model; none before the first push."""
        known = [model["name"] for model in self.get("/models")]
        versions: list[dict[str, Any]] = self.get(f"/models/{MODEL}/versions") if MODEL in known else []
        return versions

    def get(self, path: str, **params: int) -> Any:
        """GET below /api/v1."""
        with self._client() as client:
            answer = client.get(path, params=params)
            answer.raise_for_status()
            return answer.json()

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """POST below /api/v1."""
        with self._client() as client:
            answer = client.post(path, json=body)
            answer.raise_for_status()
            return answer.json()

    def device(self, robot: str) -> dict[str, Any]:
        """One device as the API shows it."""
        return next(device for device in self.get("/devices") if device["id"] == robot)

    def runs(self, version: int, *robots: str) -> bool:
        """Whether all robots, or those named, have committed a version."""
        devices = [d for d in self.get("/devices") if not robots or d["id"] in robots]
        return all(d["active_version"] == version and d["state"] == "committed" for d in devices)

    def events(self, kind: str) -> list[dict[str, Any]]:
        """All events of a kind, in order."""
        return [event for event in self.get("/events", after=0) if event["kind"] == kind]

    def wait(self, what: str, come: Callable[[], bool], limit_s: float = HANG_S) -> None:
        """Wait until something is so; fails by name when it is not in time (a hang guard, not a promise)."""
        until = time.monotonic() + limit_s
        while not come():
            assert time.monotonic() < until, f"{what} did not come; logs are in {self.logs}"
            time.sleep(TICK_S)

    def processes(self, parent: Process, word: str) -> list[psutil.Process]:
        """Descendants of a process that have a word on their command line."""
        below = psutil.Process(parent.child.pid).children(recursive=True)
        return [process for process in below if any(word in part for part in process.cmdline())]

    def _client(self) -> httpx.Client:
        token = (self.data / "api-token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=f"{read_endpoint(self.data).api}/api/v1", headers=headers, timeout=10)
