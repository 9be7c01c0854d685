"""The image repository: what a TUF client makes of it, and what a killed process leaves."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata, Root
from tuf.ngclient import FetcherInterface, Updater

from edgewright.controller.durable import Write, write_durably
from edgewright.controller.errors import DataFolderDamagedError, ModelTomlError, SignaturesMissingError
from edgewright.controller.trust.keys import KeyStore
from edgewright.controller.trust.repository import ImageRepository, TargetEntry, now_utc
from edgewright.wire.assignment import TargetCustom, read_custom
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.manifest import target_path


class PublishedFiles(FetcherInterface):
    """A device's view: the files that were published, nothing else."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.rpartition("/")[2]
        if name not in self.files:
            raise DownloadHTTPError(name, 404)
        return iter([self.files[name]])


class Device:
    """A TUF client with a cache of its own."""

    def __init__(self, folder: Path, root: bytes) -> None:
        self._folder, self._root = folder, root
        folder.mkdir()

    def sees(self, files: dict[str, bytes], path: str) -> TargetCustom | None:
        """The custom part of a target after a refresh, None where it does not exist; checks versions too."""
        updater = Updater(
            str(self._folder), "ew:", str(self._folder), fetcher=PublishedFiles(files), bootstrap=self._root
        )
        updater.refresh()
        found = updater.get_targetinfo(path)
        return None if found is None else read_custom(found.unrecognized_fields["custom"])


class Clock:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)

    def __call__(self) -> datetime:
        return self.now


def entry(version: int, model: str = "garment-packing", content: bytes = b"manifest") -> TargetEntry:
    """A release of a model."""
    return TargetEntry(
        target_path(model, "x86_64-ort-cpu", version),
        len(content),
        sha256_hex(content),
        TargetCustom(model, "x86_64-ort-cpu", version, version),
    )


def opened(
    folder: Path, clock: Callable[[], datetime] = now_utc, write: Write = write_durably
) -> ImageRepository:
    """A repository as a controller starts it."""
    repository = ImageRepository(folder / "tuf", KeyStore(folder / "keys"), clock=clock, write=write)
    repository.ensure()
    return repository


def versions(files: dict[str, bytes]) -> dict[str, int]:
    """The version that each file holds."""
    return {name: Metadata.from_bytes(data).signed.version for name, data in files.items()}


def test_a_device_finds_a_release(tmp_path: Path) -> None:
    """A TUF client that knows only the root finds a release with its custom part."""
    repository = opened(tmp_path)
    assert repository.add_release([entry(1), entry(1, "bearing")])
    device = Device(tmp_path / "device", repository.root_bytes())
    assert device.sees(repository.files(), entry(1).path) == entry(1).custom
    assert device.sees(repository.files(), entry(1, "bearing").path) == entry(1, "bearing").custom
    assert device.sees(repository.files(), entry(2).path) is None


def test_a_withdrawn_release_is_gone(tmp_path: Path) -> None:
    """A device that saw a release does not find it any more after it was withdrawn; others stay."""
    repository = opened(tmp_path)
    repository.add_release([entry(1), entry(2)])
    device = Device(tmp_path / "device", repository.root_bytes())
    assert device.sees(repository.files(), entry(2).path) is not None
    assert repository.withdraw([entry(2).path])
    assert device.sees(repository.files(), entry(2).path) is None
    assert device.sees(repository.files(), entry(1).path) is not None
    assert not repository.withdraw([entry(2).path])


def test_adding_twice_changes_nothing(tmp_path: Path) -> None:
    """A release that is added again makes no new version, also after a restart."""
    repository = opened(tmp_path)
    repository.add_release([entry(1)])
    before = repository.files()
    assert not repository.add_release([entry(1)])
    assert not opened(tmp_path).add_release([entry(1)])
    assert opened(tmp_path).files() == before


def test_a_released_path_keeps_its_content(tmp_path: Path) -> None:
    """A path that was released with one manifest is refused with another."""
    repository = opened(tmp_path)
    repository.add_release([entry(1)])
    with pytest.raises(DataFolderDamagedError, match="other content"):
        repository.add_release([entry(1, content=b"another manifest")])


@pytest.mark.parametrize("model", ["root", "targets", "snapshot", "timestamp", "a/b", "a*", "", "a" * 65])
def test_a_model_cannot_be_a_role_of_tuf(tmp_path: Path, model: str) -> None:
    """A model whose name would shadow a TUF role or widen a path pattern is refused."""
    repository = opened(tmp_path)
    before = repository.files()
    with pytest.raises(ModelTomlError):
        repository.add_release([msgspec.structs.replace(entry(1), custom=TargetCustom(model, "t", 1, 1))])
    assert repository.files() == before


def test_keys_and_metadata_are_private_files(tmp_path: Path) -> None:
    """Every key is readable by its owner only, and no two roles share one."""
    opened(tmp_path)
    keys = list((tmp_path / "keys").rglob("*.pem"))
    assert len({key.name for key in keys}) == len(keys) == 5
    assert {key.stat().st_mode & 0o777 for key in keys} == {0o600}
    assert {key.parent.stat().st_mode & 0o777 for key in keys} == {0o700}


def test_laboratory_keys_are_loud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Keys that the controller made by itself are warned of at each start and named by a property."""
    opened(tmp_path)
    caplog.clear()
    assert opened(tmp_path).laboratory
    assert "LABORATORY KEYS" in caplog.text


def test_lost_keys_are_named(tmp_path: Path) -> None:
    """A repository without its release key asks for that key's signature instead of making a new one."""
    opened(tmp_path).add_release([entry(1)])
    for key in (tmp_path / "keys/image/release").iterdir():
        key.unlink()
    with pytest.raises(SignaturesMissingError, match="1 more signature of garment-packing"):
        opened(tmp_path).add_release([entry(2)])
    assert list((tmp_path / "keys/image/release").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["1.root.json", "timestamp.json", "2.snapshot.json", "1.garment-packing.json"]
)
def test_damage_is_noticed_at_the_start(tmp_path: Path, name: str) -> None:
    """A metadata file with one changed letter stops the start with a clear error."""
    opened(tmp_path).add_release([entry(1)])
    path = tmp_path / "tuf" / name
    path.write_bytes(path.read_bytes().replace(b'"version":', b'"versiom":', 1))
    with pytest.raises(DataFolderDamagedError):
        opened(tmp_path)


def test_a_lost_timestamp_is_no_first_start(tmp_path: Path) -> None:
    """A repository with releases and no timestamp is refused: version 1 again would be a rollback."""
    opened(tmp_path).add_release([entry(1)])
    (tmp_path / "tuf/timestamp.json").unlink()
    with pytest.raises(DataFolderDamagedError, match=r"timestamp\.json"):
        opened(tmp_path)


def test_renewal_in_time(tmp_path: Path) -> None:
    """Nothing is signed again before half of its life, and everything that is due after it."""
    clock = Clock()
    repository = opened(tmp_path, clock=clock)
    repository.add_release([entry(1)])
    first = versions(repository.files())
    clock.now += timedelta(days=3)
    assert not repository.renew()
    clock.now += timedelta(days=1)
    assert repository.renew()
    assert versions(repository.files()) == {**first, "timestamp.json": first["timestamp.json"] + 1}
    clock.now += timedelta(days=4)
    assert repository.renew()
    assert "3.snapshot.json" in repository.files()
    assert "2.targets.json" in repository.files()
    assert not repository.renew()
    clock.now += timedelta(days=360)
    assert repository.renew()
    assert {"2.root.json", "3.targets.json", "2.garment-packing.json"} <= repository.files().keys()
    assert repository.root_version == 2


def test_root_and_snapshot_are_renewed_together(tmp_path: Path) -> None:
    """A root that comes of age in the same hour as the snapshot does not put the snapshot off."""
    clock = Clock()
    repository = opened(tmp_path, clock=clock)
    clock.now += timedelta(days=360)
    repository.renew()
    clock.now += timedelta(days=8)
    assert repository.renew()
    assert repository.root_version == 2
    assert "3.snapshot.json" in repository.files()


def test_a_device_follows_a_renewed_root(tmp_path: Path) -> None:
    """A device with the first root accepts the repository after the root was signed again, twice."""
    clock = Clock()
    clock.now -= timedelta(days=800)
    repository = opened(tmp_path, clock=clock)
    first_root = repository.root_bytes()
    repository.add_release([entry(1)])
    for _ in range(2):
        clock.now += timedelta(days=400)
        repository.renew()
    assert repository.root_version == 3
    device = Device(tmp_path / "device", first_root)
    assert device.sees(repository.files(), entry(1).path) == entry(1).custom
    assert opened(tmp_path, clock=clock).root_version == 3


def test_superseded_files_keep_one_generation(tmp_path: Path) -> None:
    """The generation before the current one is kept for devices in mid-refresh; roots are kept for ever."""
    repository = opened(tmp_path)
    for version in (1, 2, 3):
        repository.add_release([entry(version)])
    gone = repository.superseded()
    assert set(gone) == {"1.snapshot.json", "2.snapshot.json", "1.garment-packing.json"}
    repository.discard([*gone, "1.root.json", "4.snapshot.json"])
    assert repository.superseded() == ()
    assert opened(tmp_path).files() == repository.files()


class Killed(BaseException):
    """The process ends here."""


class KilledAt:
    """Writes like the real thing until the n-th write, which is cut at a chosen moment."""

    def __init__(self, at: int, moment: str) -> None:
        self.left, self.moment = at, moment

    def __call__(self, path: Path, data: bytes) -> None:
        self.left -= 1
        if self.left:
            write_durably(path, data)
            return
        if self.moment == "half":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_name(f".{path.name}.part").write_bytes(data[: len(data) // 2])
        elif self.moment == "after":
            write_durably(path, data)
        raise Killed


class Observer:
    """Remembers what was ever published under each name."""

    def __init__(self) -> None:
        self.seen: dict[str, bytes] = {}

    def publish(self, files: dict[str, bytes]) -> None:
        for name, data in files.items():
            if name != "timestamp.json":
                assert self.seen.setdefault(name, data) == data, name
            else:
                before = self.seen.get(name, data)
                assert versions({name: data})[name] >= versions({name: before})[name]
                self.seen[name] = data


@pytest.mark.parametrize("moment", ["before", "half", "after"])
def test_killed_at_each_write_of_the_first_start(tmp_path: Path, moment: str) -> None:
    """Killed at any write of the first start, the next start makes a whole repository."""
    at = 0
    survived = False
    while not survived:
        at += 1
        folder = tmp_path / str(at)
        cut = KilledAt(at, moment)
        try:
            ImageRepository(folder / "tuf", KeyStore(folder / "keys", cut), write=cut).ensure()
            survived = True
        except Killed:
            repository = opened(folder)
            repository.add_release([entry(1)])
            device = Device(folder / "device", repository.root_bytes())
            assert device.sees(repository.files(), entry(1).path) == entry(1).custom
    # Ten keys and notices, root, targets, snapshot, timestamp: the loop has cut each of them.
    assert at - 1 == 5 + 5 + 4


@pytest.mark.parametrize("moment", ["before", "half", "after"])
def test_killed_at_each_write_of_a_release(tmp_path: Path, moment: str) -> None:
    """Killed at any write of a change, no published name changes its content and the change can be repeated.

    The device has seen what was published before; after the kill it sees the old state or the new one, and
    the new one once the change was asked for again.
    """
    at = 0
    survived = False
    while not survived:
        at += 1
        folder = tmp_path / str(at)
        observer = Observer()
        repository = opened(folder)
        repository.add_release([entry(1)])
        device = Device(folder / "device", repository.root_bytes())
        observer.publish(repository.files())
        device.sees(repository.files(), entry(1).path)

        cut = opened(folder, write=KilledAt(at, moment))
        try:
            cut.add_release([entry(2), entry(1, "bearing")])
            survived = True
        except Killed:
            healed = opened(folder)
            observer.publish(healed.files())
            committed = device.sees(healed.files(), entry(2).path) is not None
            assert committed == (at == 5 and moment == "after")
            assert healed.add_release([entry(2), entry(1, "bearing")]) is not committed
            observer.publish(healed.files())
            assert device.sees(healed.files(), entry(2).path) == entry(2).custom
            assert device.sees(healed.files(), entry(1, "bearing").path) is not None
    assert at - 1 == 5


@pytest.mark.parametrize("moment", ["before", "half", "after"])
def test_killed_at_each_write_of_a_renewal(tmp_path: Path, moment: str) -> None:
    """Killed at any write of a renewal, root included, the next one completes it and devices go on."""
    at = 0
    survived = False
    while not survived:
        at += 1
        folder = tmp_path / str(at)
        clock = Clock()
        clock.now -= timedelta(days=400)
        repository = opened(folder, clock=clock)
        repository.add_release([entry(1)])
        observer = Observer()
        observer.publish(repository.files())
        clock.now += timedelta(days=400)
        cut = opened(folder, clock=clock, write=KilledAt(at, moment))
        try:
            cut.renew()
            survived = True
        except Killed:
            healed = opened(folder, clock=clock)
            observer.publish(healed.files())
            healed.renew()
            assert not healed.renew()
            observer.publish(healed.files())
            device = Device(folder / "device", repository.root_bytes())
            assert device.sees(healed.files(), entry(1).path) is not None
            assert healed.root_version == 2
    assert at - 1 == 5


def test_root_has_the_keys_of_its_own_half_only(tmp_path: Path) -> None:
    """The image root names one key for each of TUF's four roles, all different."""
    root = Metadata[Root].from_bytes(opened(tmp_path).root_bytes()).signed
    ids = [role.keyids for role in root.roles.values()]
    assert sorted(len(keyids) for keyids in ids) == [1, 1, 1, 1]
    assert len({keyid for keyids in ids for keyid in keyids}) == 4
