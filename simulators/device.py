"""One device without processes and threads: the agent's real parts around a line stub, driven step by step.

Everything between the topics and the control messages is the product: trust, store, downloader, journal,
outbox, deployer. ``settle`` lets all of them work until nothing is left to do.
"""

import time
from collections import deque
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import Final

from edgewright.agent.attempt import Means, Policy
from edgewright.agent.budget import FILE_NAME, Budget
from edgewright.agent.candidatework import CalledOff, CandidateBench, Try
from edgewright.agent.chunks import TopicChunks
from edgewright.agent.clock import Clock
from edgewright.agent.confidential import ContentKeys
from edgewright.agent.control import QualificationResult
from edgewright.agent.deployer import Deployer
from edgewright.agent.devicekey import DeviceKey
from edgewright.agent.fetcher import Interrupt, MetadataFetcher, TopicReader
from edgewright.agent.fetching import VersionFetcher
from edgewright.agent.gate import Gate
from edgewright.agent.greeting import Greeting, greet
from edgewright.agent.journal import Deployment, Journal
from edgewright.agent.ledger import Ledger
from edgewright.agent.outbox import Outbox
from edgewright.agent.qualificationorder import InspectedOrder
from edgewright.agent.qualifying import Qualifying
from edgewright.agent.releasefiles import ReleaseFiles
from edgewright.agent.salvage import open_database
from edgewright.agent.samplefiles import SampleFiles
from edgewright.agent.sealing import Sealer
from edgewright.agent.settings import QualificationSettings
from edgewright.agent.store import Store
from edgewright.agent.transfer import Limits
from edgewright.agent.trials import Trials
from edgewright.agent.trust import Director, ImageRepository
from edgewright.agent.vouching import held_in_slots, vouch_slots
from edgewright.agent.work import Job, Noted, Workbench
from edgewright.wire import messages, topics
from edgewright.wire.deployment import State
from edgewright.wire.errors import EdgewrightError, MalformedMessageError, UnsignedMessageError
from edgewright.wire.messages import Hello, Release, Report
from simulators.line_stub import LineStub
from simulators.repository import DEVICE, TARGET, RepositorySimulator

QUICK: Final = Policy(Limits(patience=(0.02, 0.02, 0.02)))
"""The patience of a test."""


class DeviceStub:
    """A device of a simulated repository.

    Args:
        simulator: what it is enrolled with and reads from.
        folder: its data; a second object over the same folder is the device after a power cut.
        policy: when and how fast it fetches; its windows are of UTC.
        day_bytes: what it may fetch in a day, 0 for no limit.
        qualification: what its owner lets be measured on it.

    Attributes:
        line: the stub.
        wanted: chunks that it asked the controller for.
        qualification: result of the next qualifications; called with manifest, artifact and golden file.
        jobs: work that waits.
        later: functions that wait for their time; ``settle`` never calls them, ``wait`` does.
        clock: trusted time, over the system's clock that ``system_time`` gives.
        key: the device's.
        director, repository: verify, in this process.
    """

    def __init__(
        self,
        simulator: RepositorySimulator,
        folder: Path,
        device: str = DEVICE,
        *,
        system_time: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        policy: Policy = QUICK,
        day_bytes: int = 0,
        qualification: QualificationSettings | None = None,
    ) -> None:
        self.simulator, self.device = simulator, device
        self.key = DeviceKey.generate()
        self.sealer = Sealer(self.key)
        self.line = LineStub()
        self.wanted: list[str] = []
        self.jobs: deque[Job | Try] = deque()
        self.later: list[Callable[[], None]] = []
        self.qualification: Callable[[Path, Path, Path], QualificationResult] = _passes
        folder.mkdir(parents=True, exist_ok=True)
        self._database, damage = open_database(folder / "agent.db")
        self.journal = Journal(self._database)
        self.outbox = Outbox(self._database, device, SampleFiles(folder / "samples"))
        self.store = Store(folder / "store")
        reader = TopicReader(simulator.topics)
        fetcher = MetadataFetcher(reader, seconds=0.02)
        self.repository = ImageRepository(folder / "image", simulator.image_root, fetcher)
        self.director = Director(simulator.director_root, folder / "director", fetcher)
        self.clock = Clock(self.journal, system_time, synchronized=lambda: True)
        keys = ContentKeys(device, lambda: [self.key])
        budget = Budget(folder / FILE_NAME, day_bytes)
        chunks = TopicChunks(simulator.topics)
        means = Means(chunks, self.store, policy, budget, self.wanted.extend, UTC)
        versions = VersionFetcher(means)
        self._candidates = CandidateBench(versions, self.store, self._qualify)
        self.trials = Trials(self._database)
        self._bench = Workbench(
            self.repository,
            self.director,
            versions,
            self.store,
            self._qualify,
            self._note,
            keys=keys,
        )
        ledger = self._ledger = Ledger(device, self._database, self.journal, self.outbox)
        if damage:
            ledger.note(damage)
        self._connections = 0
        self.gate = Gate(device, TARGET, self.journal, ledger, self.clock, self.director, self.sealer)
        self.deployer = Deployer(
            self.gate,
            self.journal,
            ledger,
            ReleaseFiles(self.store, keys),
            submit=self.jobs.append,
            call_off=self._call_off,
            send=self.line.send,
            later=lambda _seconds, event: self.later.append(event),
            replace_line=self.restart_line,
            monotonic=monotonic,
            beside=self.trials.needed,
        )
        self._owner = qualification or QualificationSettings()
        self.qualifying = self._make_qualifying(monotonic)

    def _make_qualifying(self, monotonic: Callable[[], float]) -> Qualifying:
        return Qualifying(
            self._owner,
            self.gate,
            self,
            self.trials,
            self._ledger,
            self.jobs.append,
            lambda: self.deployer.is_idle,
            self.deployer.collect,
            monotonic,
        )

    def put_order(
        self, raw: bytes, floor: int, done: Callable[[InspectedOrder | EdgewrightError], None]
    ) -> None:
        """Verify an order at once, as the desk does beside the loop."""
        try:
            done(self.director.inspect_order(raw, floor))
        except EdgewrightError as error:
            done(error)

    def start(self, *, line_lives: bool = False) -> "DeviceStub":
        """Start agent and line: what the slots hold is verified without network, then loaded.

        Args:
            line_lives: whether the agent finds, or believes to find, a line that outlived the one before.
        """
        self.gate.trusts(self.director.trust)
        self.gate.watch_clock()
        self.deployer.start(line_lives=line_lives)
        self.deployer.vouched(vouch_slots(self.repository, held_in_slots(self.journal)))
        self.deployer.line_started()
        self.settle()
        return self

    def read_topics(self) -> None:
        """Read the device's retained topics, as after a connection, and let everything work."""
        retained = self.simulator.topics.retained
        if raw := retained.get(topics.timestamp()):
            self.deployer.timestamp(raw)
        if raw := retained.get(topics.assignment(self.device)):
            self.deployer.document(raw)
        raw = retained.get(topics.qualification(self.device)) if self._owner.accept else None
        if raw:
            self.qualifying.document(raw)
        self.settle()

    def hello(self) -> Hello:
        """The first message of another connection, as the controller reads it."""
        self._connections = self.journal.count_connection()
        me = Greeting(self.device, TARGET, {}, ("simulated",), 0.0)
        return greet(
            me,
            self.journal,
            self.outbox,
            self._connections,
            self.clock.question(),
            time.time(),
            self.deployer,
        )

    def send(self) -> int:
        """Send what may go to a controller that does not answer; the newest number."""
        self.outbox.due(time.monotonic())
        (newest,) = self._database.connection.execute("SELECT next_seq - 1 FROM outbox").fetchone()
        return int(newest)

    def hear_ack(self, payload: bytes) -> None:
        """Something lies on the topic of acknowledgements."""
        try:
            self.outbox.acknowledge(self.sealer.open_ack(payload), time.monotonic())
        except (UnsignedMessageError, MalformedMessageError) as error:
            self._ledger.note(error)

    def settle(self) -> None:
        """Work until no job and no answer is left."""
        while self.jobs or self.line.answers:
            self.step()
            self.qualifying.drive()

    def step(self) -> None:
        """Do one job or hear one answer."""
        if self.line.answers:
            self.deployer.said(self.line.answers.popleft())
        elif self.jobs:
            job = self.jobs.popleft()
            if isinstance(job, Try):
                self.qualifying.told(self._candidates.do(job, lambda: False))
            else:
                self.deployer.told(self._bench.do(job, lambda: False))

    def wait(self) -> None:
        """Let the time of everything that waits come."""
        waiting, self.later = self.later, []
        for event in waiting:
            event()
        self.qualifying.drive()
        self.settle()

    def restart_line(self) -> None:
        """The line's process dies and another one starts."""
        self.deployer.line_ended()
        self.line.loaded.clear()
        self.line.active = None
        self.line.answers.clear()
        self.deployer.line_started()
        self.settle()

    def cut_power(self) -> None:
        """End without a word; the files are as they are."""
        self._database.close()

    def stop(self) -> None:
        """End because somebody said so."""
        self.deployer.stop()
        self.qualifying.stop()
        self._database.close()

    @property
    def running(self) -> Release | None:
        """The release that decides, by the journal."""
        return self.deployer.active

    @property
    def running_artifact(self) -> bytes | None:
        """Bytes of the artifact that decides in the line, None for the fallback."""
        return Path(self.line.loaded[self.line.active]).read_bytes() if self.line.active else None

    @property
    def latest(self) -> Deployment:
        """The newest deployment."""
        return self.journal.deployments(1)[0]

    def reports(self) -> list[Report]:
        """All reports that wait for the controller, oldest first."""
        rows = self._database.connection.execute("SELECT payload FROM messages ORDER BY id")
        decoded = [messages.decode_up(payload) for (payload,) in rows]
        return [message for message in decoded if isinstance(message, Report)]

    def states(self) -> list[State]:
        """States that were reported, in order."""
        return [report.state for report in self.reports() if report.state]

    def names(self) -> list[str]:
        """Names of errors and events that were reported, in order."""
        return [report.name for report in self.reports() if report.name]

    def _call_off(self) -> None:
        waiting = list(self.jobs)
        self.jobs.clear()
        for job in waiting:
            if isinstance(job, Try):
                self.qualifying.told(CalledOff(job.order, job.candidate.sha256))

    def _note(self, noted: Noted) -> None:
        self.deployer.told(noted)

    def _qualify(
        self, manifest: Path, artifact: Path, golden: Path, _content_key: bytes, _interrupt: Interrupt
    ) -> QualificationResult:
        return self.qualification(manifest, artifact, golden)


def _passes(_manifest: Path, _artifact: Path, _golden: Path) -> QualificationResult:
    return QualificationResult(ok=True, latency_p50_us=100, latency_p99_us=200, memory_mb=40.0)
