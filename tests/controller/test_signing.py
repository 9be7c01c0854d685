"""Versions that wait for signatures: the build goes on by itself when they come, over restarts too."""

import threading
from pathlib import Path

import pytest

from edgewright.controller import registry
from edgewright.controller.database.evidencetables import Rebuild
from edgewright.controller.database.tables import ModelVersion
from edgewright.controller.rebuild.states import RebuildState
from edgewright.controller.rebuild.steps import carry_on
from edgewright.controller.rebuild.versions import compile_version
from edgewright.controller.trust import ceremony, requests
from edgewright.controller.trust.ceremony import Holder
from edgewright.controller.trust.keys import Signer
from tests.controller.colour_plant import MODEL, Plant, wait_until


class OfflinePlant(Plant):
    """A plant whose release key is on a stick."""

    def __init__(self, data: Path, stick: Path) -> None:
        release = [Holder(stick)]
        ceremony.begin(data, [Holder(stick.with_name("root.pem"))], release, release, (1, 1, 1))
        self.holder: Signer = ceremony.signer_of(stick)
        super().__init__(data)

    def row(self, version: int = 1) -> ModelVersion:
        with self.db.reading() as session:
            return registry.find_version(session, MODEL, version)

    def approve(self) -> None:
        """Bring the signature that is waited for."""
        (request,) = self.repository.requests()
        signed = requests.sign(request, [self.holder])
        assert self.repository.import_signatures(requests.encode(signed))[1]


@pytest.fixture
def plant(tmp_path: Path) -> OfflinePlant:
    """A plant with one version to build."""
    made = OfflinePlant(tmp_path / "data", tmp_path / "stick" / "release.pem")
    made.push("building")
    return made


def test_a_build_goes_on_when_the_signatures_come(plant: OfflinePlant) -> None:
    """A pushed version waits as ``signing``, over a restart too, and is released once it is signed."""
    workflows = plant.workflows()
    workflows.start()
    try:
        wait_until(lambda: plant.row().state == registry.SIGNING)
    finally:
        workflows.stop()
    assert plant.shelf.releases == []
    workflows = plant.workflows()
    workflows.start()
    try:
        # The restarted build asks the repository again and finds its own request.
        assert plant.row().state == registry.SIGNING
        assert "1 more signature of targets, colours" in plant.row().detail
        plant.approve()
        wait_until(lambda: plant.row().state == registry.READY)
    finally:
        workflows.stop()
    assert plant.events() == ["version.pushed", "version.signing", "version.ready"]
    assert len(plant.shelf.releases) == 1
    assert plant.repository.requests() == ()
    plant.db.close()


def test_a_version_that_waits_can_be_withdrawn(plant: OfflinePlant) -> None:
    """Withdrawing a version that waits ends its build, and nobody is asked for its signature any more."""
    workflows = plant.workflows()
    workflows.start()
    try:
        wait_until(lambda: plant.row().state == registry.SIGNING)
        with plant.db.session() as session:
            assert registry.withdraw(session, MODEL, 1, "wrong labels")
        wait_until(lambda: plant.repository.requests() == ())
    finally:
        workflows.stop()
    assert (plant.row().state, plant.row().detail) == (registry.WITHDRAWN, "wrong labels")
    assert plant.shelf.releases == []
    plant.db.close()


def test_a_rebuild_goes_on_when_the_signatures_come(plant: OfflinePlant) -> None:
    """A rebuild that is signing waits for the holder and then rolls out."""
    context = plant.context()
    build = compile_version(context, MODEL, 1)
    with plant.db.session() as session:
        row = Rebuild(model=MODEL, from_version=1, cause="a test", state=RebuildState.SIGNING, queued_at=1.0)
        row.new_version, row.gates = 1, {"build": build}
        session.add(row)
    waiting = threading.Thread(target=carry_on, args=(context, 1))
    waiting.start()
    try:
        wait_until(lambda: plant.row().state == registry.SIGNING)
        assert plant.rebuild().state == RebuildState.SIGNING
        plant.approve()
    finally:
        waiting.join(20)
        context.stopping.set()
    assert plant.rebuild().state == RebuildState.ROLLING_OUT
    assert plant.row().state == registry.READY
    plant.db.close()
