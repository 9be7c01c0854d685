"""The story, step by step: each step waits for what it tells, and gives up with a sentence when it
does not come.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import httpx
import msgspec

from edgewright.controller.datadir import read_endpoint
from edgewright.controller.errors import ControllerUnreachableError
from simulators.demo import figures
from simulators.demo.figures import Marks, Moment, Tally
from simulators.demo.fleet import Cell, Process, configure, enrol, start_agent, start_controller, start_push
from simulators.demo.stage import Stage

MODEL: Final = "garment-packing"
ROBOTS: Final = {
    "r1": "x86_64-ort-cpu",
    "r2": "x86_64-ort-cpu",
    "r3": "x86_64-ort-cpu-fp32",
    "r4": "x86_64-ort-cpu-fp32",
}
"""Four robots of two targets."""

RATE_PER_S: Final = 20.0
"""Items a second and robot: a real line's day in a minute."""
WINDOW_S: Final = 1.0
CAPTURE_SHARE: Final = 0.5
"""A belt that runs a day in a minute needs windows and labelled pictures as much faster."""

BASELINE_ITEMS: Final = 800
AFTER_ITEMS: Final = 800
"""Items of the whole line that a mispack rate is measured on: its standard error is then about one point."""
TICK_S: Final = 0.2


class StoryError(Exception):
    """A step did not come to its end."""


class Story:
    """The demo's run on one folder."""

    def __init__(self, data: Path, seed: int, stage: Stage, models: Path) -> None:
        self._data = data
        self._seed = seed
        self._stage = stage
        self._model_folder = models / MODEL
        self._processes: list[Process] = []
        self._cells: dict[str, Cell] = {}
        self._client = httpx.Client(timeout=10)
        self._moments: list[Moment] = []
        self.marks = Marks()

    def close(self) -> None:
        """End what was started, the last first."""
        for process in reversed(self._processes):
            process.end()
        self._client.close()

    def tell(self) -> bytes:
        """The whole story; returns the last line.

        Raises:
            StoryError: a step did not come to its end.
        """
        self._start_controller()
        self._start_robots()
        self._push()
        before = self._baseline()
        self._drift()
        self._rebuild()
        after = self._afterwards()
        counts = [cell.phases for cell in self._cells.values()]
        self._stop_line()
        drifted = figures.tally(counts, "drifted", 1)
        return figures.last_line(
            devices=len(ROBOTS),
            marks=self.marks,
            rates={"before": before, "drifted": drifted, "after": after},
            transferred=self._transferred(),
            versions=[version["version"] for version in self._versions()],
            counted={
                "frames_dropped": figures.dropped([cell.phases for cell in self._cells.values()]),
                "alarms_before_drift": figures.alarms_before(self._moments, self.marks.drifted),
            },
        )

    def _start_controller(self) -> None:
        self._stage.say("An empty data folder. The controller starts, with its broker and its keys.")
        self._processes.append(start_controller(self._data / "controller", self._log("controller")))
        self._wait("the controller", self._controller_answers, 60)
        token = (self._data / "controller" / "api-token").read_text().strip()
        address = read_endpoint(self._data / "controller").api
        self._client = httpx.Client(
            base_url=f"{address}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=10
        )
        self._stage.say(f"Dashboard: {address}/?token={token}", "bold underline")

    def _start_robots(self) -> None:
        self._stage.say(f"{len(ROBOTS)} robots enrol, each with a one-time token, and start their agents.")
        address = read_endpoint(self._data / "controller").door
        for index, (robot, target) in enumerate(ROBOTS.items()):
            folder = self._data / robot
            token = self._post("/tokens", {})["token"]
            enrol(folder, address, token, target, {"site": "lyon", "line": "ab"[index // 2]})
            configure(folder, window_seconds=WINDOW_S, capture_share=CAPTURE_SHARE)
            self._processes.append(start_agent(folder, self._log(robot)))
        self._wait("the agents", lambda: all(device["connected"] for device in self._devices()), 60)
        for index, robot in enumerate(ROBOTS):
            seed = 1000 * self._seed + index
            cell = Cell(robot, self._data / robot / "cell.sock", seed, RATE_PER_S, self._log(f"cell-{robot}"))
            self._cells[robot] = cell
            self._processes.append(cell)
        self._stage.say("The belt runs. Without a model every item goes to the manual lane.")

    def _push(self) -> None:
        self._stage.say("An engineer pushes the first model: compile, prove, sign, roll out.")
        self.marks.pushed = time.time()
        push = start_push(self._model_folder, self._data / "controller", self._log("push"))
        self._processes.append(push)
        self._wait("the first rollout", lambda: self._finished(1), 120)
        self.marks.running = self._moment("rollout.finished").at
        seconds = self.marks.running - self.marks.pushed
        self._stage.say(f"Running on all robots {seconds:.1f} s after the push.")

    def _baseline(self) -> Tally:
        self._stage.say("The line packs the eight kinds of goods that the model knows.")
        start = self._tally("before", 1)
        self._wait("the baseline", lambda: (self._tally("before", 1) - start).decided >= BASELINE_ITEMS, 120)
        tally = self._tally("before", 1)
        self._stage.say(f"Mispacked: {tally.rate:.1%} of {tally.decided} items.")
        self._answer("performance")
        return tally

    def _drift(self) -> None:
        self.marks.drifted = time.time()
        for cell in self._cells.values():
            cell.say(phase="drifted")
        news = "The company introduces two new kinds of goods. Nobody tells the model."
        self._stage.say(news, "bold yellow")

    def _rebuild(self) -> None:
        since = self.marks.drifted
        self._wait("the alarm", lambda: figures.first(self._moments, "alarm.raised", since) is not None, 90)
        self.marks.alarm = self._moment("alarm.raised", since).at
        self._answer("performance", "cost", "next")
        self._wait("the queued rebuild", lambda: self._has("rebuild.queued", since), 30)
        self.marks.queued = self._moment("rebuild.queued", since).at
        self._wait("the rebuilt version on all robots", lambda: self._finished(2), 180)
        self.marks.fixed = self._moment("rollout.finished", since).at
        seconds = self.marks.fixed - self.marks.drifted
        self._stage.say(f"Fixed {seconds:.1f} s after the new goods came.", "bold green")

    def _afterwards(self) -> Tally:
        start = self._tally("drifted", 2)
        self._wait("the proof", lambda: (self._tally("drifted", 2) - start).decided >= AFTER_ITEMS, 120)
        tally = self._tally("drifted", 2)
        self._stage.say(f"Mispacked on ten kinds of goods: {tally.rate:.1%} of {tally.decided} items.")
        self._answer("performance", "next")
        return tally

    def _answer(self, *keys: str) -> None:
        """Some of the seven answers, as `edgewright health` gives them now."""
        answers = {answer["key"]: answer for answer in self._get(f"/models/{MODEL}/health")["answers"]}
        for key in keys:
            self._stage.say(f"{answers[key]['question']} {answers[key]['sentence']}", "cyan")

    def _stop_line(self) -> None:
        for cell in self._cells.values():
            cell.end()

    def _transferred(self) -> dict[str, int]:
        """Payload bytes that a device took for its first and for its rebuilt version, mean over the
        robots.
        """
        parts = {version: self._rollout_of(version)["devices"] for version in (1, 2)}
        mean = {v: sum(d["fetched_bytes"] for d in each) // len(each) for v, each in parts.items()}
        return {"full": mean[1], "delta": mean[2]}

    def _wait(self, what: str, come: Callable[[], bool], limit_s: float) -> None:
        until = time.monotonic() + limit_s
        while not self._look(come):
            for process in self._processes:
                if not process.running and process.child.returncode != 0:
                    self._give_up(f"{process.name} ended with status {process.child.returncode}", process.log)
            if time.monotonic() > until:
                self._give_up(f"{what} did not come within {limit_s:.0f} s", self._log("controller"))
            time.sleep(TICK_S)

    def _look(self, come: Callable[[], bool]) -> bool:
        try:
            self._follow()
            return come()
        except (httpx.TransportError, ControllerUnreachableError):
            return False

    def _follow(self) -> None:
        if not self._client.base_url.host:
            return
        last = self._moments[-1].id if self._moments else 0
        new = (msgspec.convert(each, Moment) for each in self._get("/events", after=last))
        for moment in sorted(new, key=lambda each: each.id):
            self._moments.append(moment)
            self._stage.moment(moment)
        self._stage.fleet(self._devices(), {robot: cell.phases for robot, cell in self._cells.items()})

    def _give_up(self, sentence: str, log: Path) -> NoReturn:
        tail = log.read_text(errors="replace").splitlines()[-8:] if log.exists() else []
        raise StoryError("\n".join([f"{sentence}; the end of its log:", *tail]))

    def _controller_answers(self) -> bool:
        endpoint = read_endpoint(self._data / "controller")
        return httpx.get(f"{endpoint.api}/api/v1/health", timeout=2).is_success

    def _finished(self, version: int) -> bool:
        return any(m.kind == "rollout.finished" and m.version == version for m in self._moments)

    def _has(self, kind: str, since: float) -> bool:
        return figures.first(self._moments, kind, since) is not None

    def _moment(self, kind: str, since: float = 0.0) -> Moment:
        moment = figures.first(self._moments, kind, since)
        if moment is None:
            raise StoryError(f"The controller recorded no {kind}.")
        return moment

    def _tally(self, phase: str, version: int) -> Tally:
        return figures.tally([cell.phases for cell in self._cells.values()], phase, version)

    def _devices(self) -> Sequence[dict[str, Any]]:
        devices: list[dict[str, Any]] = self._get("/devices")
        return devices

    def _versions(self) -> Sequence[dict[str, Any]]:
        return sorted(self._get(f"/models/{MODEL}/versions"), key=lambda version: version["version"])

    def _rollout_of(self, version: int) -> dict[str, Any]:
        finished = (m for m in self._moments if m.kind == "rollout.finished")
        number = next(m.rollout for m in finished if m.version == version)
        rollout: dict[str, Any] = self._get(f"/rollouts/{number}")
        return rollout

    def _get(self, path: str, **params: int) -> Any:
        answer = self._client.get(path, params=params)
        answer.raise_for_status()
        return answer.json()

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        answer = self._client.post(path, json=body)
        answer.raise_for_status()
        return answer.json()

    def _log(self, name: str) -> Path:
        folder = self._data / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.log"
