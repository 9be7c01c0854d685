"""Signatures: the only file of the agent that imports tuf.

It verifies and decides nothing else. ``Director`` follows the director's roots and reads assignment documents
that the newest one vouches for. ``ImageRepository`` runs ngclient over the topic reader, for metadata only
(blobs have a downloader of their own, with resume), and answers which target is signed. What the answers mean
is decided in ``agreement``. In an agent all of this runs in the verifier's process (``verifier``); simulators
and the enrolment use it as it is.

Rules:

- The bootstrap root is always the enrolled one, never the cache: an edited cache cannot bring a root.
- A next root needs the signatures of the one before and its own, each by its threshold.
- One Updater a check, all in one thread (ngclient is documented single-instance per cache folder).
- Time comes from outside: a floor under the system's clock stops a freeze that hides behind a slow clock.
- ``prove`` makes a proof that the journal keeps: the chain from the enrolled root to one release. With it a
  start without network verifies the signatures over what it is about to load, however far the repository has
  moved on since and whatever became of the cache. Expiry does not count there: it blocks installs, never a
  model that was installed.
- tuf's exceptions end here, each as the class of ``wire.errors`` that names what happened.
"""

import contextlib
import datetime
import logging
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar
from urllib.parse import quote

import msgspec
from tuf.api import exceptions as tuf_errors
from tuf.api.metadata import Metadata, Root, TargetFile, Targets
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from edgewright.agent.agreement import Assignment, DirectorTrust, ImageTarget, Seen
from edgewright.agent.fetcher import MetadataSource, MissingFile, inflate
from edgewright.agent.qualificationorder import InspectedOrder, QualificationOrder
from edgewright.agent.verifier.seam import Inspected
from edgewright.wire import assignment as wire
from edgewright.wire import qualification
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.errors import (
    BlobTimeoutError,
    EdgewrightError,
    ExpiredMetadataError,
    MalformedMessageError,
    RollbackAttackError,
    TamperedArtifactError,
    TamperedMetadataError,
)

MAX_ROOT_ROTATIONS: Final = 1024
"""Counted from the enrolled root, not from the newest cached one: with too small a limit a device stays
silently on an old root (measured). Bootstrap roots therefore also move with agent releases."""

MAX_PROOF_BYTES: Final = 16_000_000
"""After decompression; three files of ngclient's largest size."""

_BASE = "topics:tuf/"

_D = TypeVar("_D", Assignment, QualificationOrder)

_ROLES_ABOVE: Final = (Targets.type,)
"""Over a model's own role there is the targets role and nothing else (controller: one role a model)."""


class Director:
    """Follows the director's roots and verifies assignment documents.

    Args:
        root: the enrolled root.
        folder: where newer trusted roots are kept; None keeps none.
        source: where newer roots come from; None brings none.

    Raises:
        TamperedMetadataError: the enrolled root is no root that signs itself.
    """

    def __init__(self, root: bytes, folder: Path | None = None, source: MetadataSource | None = None) -> None:
        with _as_ours():
            metadata: Metadata[Root] = Metadata[Root].from_bytes(root)
            metadata.verify_delegate("root", metadata)
        self._root = metadata.signed
        self._folder, self._source = folder, source
        self._load_kept()

    @property
    def trust(self) -> DirectorTrust:
        """What the newest trusted root says."""
        keys = (self._root.keys[keyid] for keyid in self._root.roles["timestamp"].keyids)
        raw = tuple(bytes.fromhex(key.keyval["public"]) for key in keys if key.keytype == "ed25519")
        order_keys = tuple(sorted(self._root.roles["targets"].keyids))
        return DirectorTrust(self._root.version, self._root.expires.timestamp(), raw, order_keys)

    def inspect(self, raw: bytes, floor: int) -> Inspected:
        """What ``read`` gives, with the root that vouches for it."""
        return Inspected(self.read(raw, floor), self.trust)

    def inspect_order(self, raw: bytes, floor: int) -> InspectedOrder:
        """The order to measure candidates in a document, and the root that vouches for it; see ``read``."""
        return InspectedOrder(self._vouched(raw, floor, self._verified_order), self.trust)

    def read(self, raw: bytes, floor: int = 0) -> Assignment:
        """The assignment in a document that the director signed.

        Newer roots are followed first: a key that was stolen and replaced signs nothing any more, even where
        its document is delivered before anything else tells of the new root.

        Args:
            raw: the document.
            floor: version of the newest root that was ever trusted, whatever the folder holds now.

        Raises:
            TamperedMetadataError: the signatures do not verify, or the document says more than one release.
            RollbackAttackError: a root that the device has trusted, or the document demands, is withheld.
            TransferError: nobody could be asked for newer roots; what the document says is not known.
        """
        return self._vouched(raw, floor, self._verified)

    def _vouched(self, raw: bytes, floor: int, verified: Callable[[bytes], _D]) -> _D:
        """What ``verified`` reads, under the newest root that this device, or the document, demands."""
        if len(raw) > wire.MAX_ASSIGNMENT_BYTES:
            raise TamperedMetadataError(f"A document of {len(raw)} bytes exceeds the limit.")
        self.follow(floor)
        document = verified(raw)
        if document.orders.min_director_root > self._root.version:
            self.follow(document.orders.min_director_root)
            document = verified(raw)
        needed = max(floor, document.orders.min_director_root)
        if self._root.version < needed:
            raise RollbackAttackError(
                f"The broker shows the director's root {self._root.version}; {needed} is demanded."
            )
        return document

    def follow(self, demanded: int) -> DirectorTrust:
        """Trust every newer root that verifies: those that are demanded, and those that the hint names.

        Raises:
            TransferError: nobody could be asked.
            TamperedMetadataError: the next root does not verify.
        """
        if self._source is not None:
            self._source.begin()
            while (content := self._source.fetch_director_root(self._root.version + 1, demanded)) is not None:
                self._trust_next(content)
                self._keep(content)
        return self.trust

    def _signed(self, raw: bytes) -> Targets:
        """A document that the director's keys have signed, whatever it says."""
        with _as_ours():
            metadata: Metadata[Targets] = Metadata[Targets].from_bytes(raw)
            self._root.verify_delegate("targets", metadata.signed_bytes, metadata.signatures)
        return metadata.signed

    def _verified_order(self, raw: bytes) -> QualificationOrder:
        signed = self._signed(raw)
        few = (
            1 <= len(signed.targets) <= qualification.MAX_CANDIDATES if signed.type == Targets.type else False
        )
        if not few or signed.delegations is not None or wire.FIELD in signed.unrecognized_fields:
            raise TamperedMetadataError("The signed document is no order to measure candidates.")
        try:
            _demand_bounded(signed.version, "A version")
            said = qualification.read_orders(signed.unrecognized_fields.get(qualification.FIELD))
            candidates = tuple(_image_target(target) for target in signed.targets.values())
        except MalformedMessageError as error:
            raise TamperedMetadataError(f"The signed document is no order: {error.sentence}") from error
        return QualificationOrder(
            signed.version, sha256_hex(raw), signed.expires.timestamp(), candidates, said
        )

    def _verified(self, raw: bytes) -> Assignment:
        signed = self._signed(raw)
        if signed.type != Targets.type or signed.delegations is not None or len(signed.targets) != 1:
            raise TamperedMetadataError("The signed document is no assignment of one release.")
        try:
            _demand_bounded(signed.version, "A version")
            (target,) = signed.targets.values()
            orders = wire.read_orders(signed.unrecognized_fields.get(wire.FIELD))
            described = _image_target(target)
        except MalformedMessageError as error:
            raise TamperedMetadataError(f"The signed document is no assignment: {error.sentence}") from error
        return Assignment(signed.version, sha256_hex(raw), signed.expires.timestamp(), described, orders)

    def _load_kept(self) -> None:
        """Walk the kept roots; the first one that is missing or does not verify ends the walk."""
        while self._folder is not None:
            try:
                self._trust_next((self._folder / f"{self._root.version + 1}.root.json").read_bytes())
            except (OSError, TamperedMetadataError):
                return

    def _trust_next(self, content: bytes) -> None:
        with _as_ours():
            self._root = _next_root(self._root, content)

    def _keep(self, content: bytes) -> None:
        if self._folder is not None:
            _write(self._folder / f"{self._root.version}.root.json", content)


class ImageRepository:
    """The signed catalogue of releases, refreshed over a fetcher.

    Args:
        folder: ngclient's cache.
        root: the enrolled root.
        fetcher: where metadata files come from.
    """

    def __init__(self, folder: Path, root: bytes, fetcher: MetadataSource) -> None:
        self._folder, self._root, self._fetcher = folder, root, fetcher
        folder.mkdir(parents=True, exist_ok=True)

    def refresh(self, now: float, path: str | None = None) -> tuple[Seen, ImageTarget | None]:
        """Verify the newest metadata; the versions seen, and the target at ``path``, None without one.

        Raises:
            TamperedMetadataError: it does not verify, or is larger than it may be.
            RollbackAttackError: a version is older than one that was seen.
            ExpiredMetadataError: it is past its expiry at ``now``, seconds since the epoch.
            TransferError: a file did not arrive.
        """
        with _as_ours():
            self._fetcher.begin()
            updater = _updater(self._folder, self._root, _TufFetcher(self._fetcher), now)
            updater.refresh()
            found = updater.get_targetinfo(path) if path else None
            return _seen(updater), _image_target(found) if found else None

    def prove(self, target: ImageTarget) -> bytes:
        """What ``vouch`` needs, of the release that the last refresh has found.

        Raises:
            TamperedMetadataError: the cache does not hold it.
        """
        roots: list[bytes] = []
        with _as_ours():
            root = Metadata[Root].from_bytes(self._root).signed
        # The cache may hold anything beyond the newest root: the first one that does not verify is no root.
        with contextlib.suppress(OSError, tuf_errors.RepositoryError, ValueError):
            while True:
                content = (self._folder / f"root_history/{root.version + 1}.root.json").read_bytes()
                root = _next_root(root, content)
                roots.append(content)
        names = (*_ROLES_ABOVE, target.custom.model)
        try:
            roles = {name: (self._folder / f"{quote(name, '')}.json").read_bytes() for name in names}
        except OSError as error:
            raise TamperedMetadataError(f"Cached metadata cannot be read: {error.strerror}.") from error
        proof = zlib.compress(msgspec.msgpack.encode(_Proof(roots, roles)))
        self.vouch(target, proof)
        return proof

    def vouch(self, target: ImageTarget, proof: bytes | None) -> None:
        """Verify by signature alone, from the enrolled root, that the image repository named a release.

        Args:
            target: the release.
            proof: as ``prove`` made it; None, where an older agent kept none, takes the cache.

        Raises:
            TamperedMetadataError: the proof does not verify, or names another release.
        """
        packed = self.prove(target) if proof is None else proof
        with _as_ours():
            chain = msgspec.msgpack.decode(inflate(packed, MAX_PROOF_BYTES), type=_Proof)
            root = Metadata[Root].from_bytes(self._root).signed
            for content in chain.roots:
                root = _next_root(root, content)
            found = _find(root, chain.roles, target.path)
        if found is None or _image_target(found) != target:
            raise TamperedMetadataError(f"No kept signature names {target.path} with these bytes.")


class RepositoryCheck:
    """One check of any TUF repository, as a client of the specification makes it (``tuf_client``).

    Args:
        folder: ngclient's cache.
        root: the root to start from.
        source: where metadata files come from.
        now: trusted time, seconds since the epoch.
    """

    def __init__(self, folder: Path, root: bytes, source: MetadataSource, now: float) -> None:
        with _as_ours():
            self._updater = _updater(folder, root, _TufFetcher(source), now)
        self._found: dict[str, TargetFile] = {}

    def refresh(self) -> Seen:
        """Verify the newest metadata; see ``ImageRepository.refresh``."""
        with _as_ours():
            self._updater.refresh()
            return _seen(self._updater)

    def find(self, path: str) -> tuple[str, int] | None:
        """Where the file of a signed target lies, and its length in bytes; None where nobody signed it."""
        with _as_ours():
            found = self._updater.get_targetinfo(path)
        if found is None:
            return None
        self._found[path] = found
        trusted = self._updater._trusted_set  # noqa: SLF001 - see _updater
        folder, slash, name = path.rpartition("/")
        prefix = f"{next(iter(found.hashes.values()))}." if trusted.root.consistent_snapshot else ""
        return f"{folder}{slash}{prefix}{name}", found.length

    def verify(self, path: str, data: bytes) -> None:
        """Hold bytes against what was signed for a target that was found.

        Raises:
            TamperedArtifactError: they are others.
        """
        try:
            self._found[path].verify_length_and_hashes(data)
        except tuf_errors.LengthOrHashMismatchError as error:
            raise TamperedArtifactError(f"{path} is not what was signed: {error}.") from error


class _Proof(msgspec.Struct, frozen=True, array_like=True):
    """Every root after the enrolled one, and the signed metadata from the targets role down, by role."""

    roots: list[bytes]
    roles: dict[str, bytes]


def _updater(folder: Path, root: bytes, fetcher: FetcherInterface, now: float) -> Updater:
    updater = Updater(
        str(folder),
        _BASE,
        fetcher=fetcher,
        config=UpdaterConfig(max_root_rotations=MAX_ROOT_ROTATIONS),
        bootstrap=root,
    )
    # ngclient has no public clock and no public versions; a test fails loudly if this moves.
    updater._trusted_set.reference_time = datetime.datetime.fromtimestamp(now, datetime.UTC)  # noqa: SLF001
    return updater


def _next_root(trusted: Root, content: bytes) -> Root:
    """A root that the one before and it itself have signed, each by its threshold."""
    metadata: Metadata[Root] = Metadata[Root].from_bytes(content)
    signed = metadata.signed
    if signed.type != Root.type:
        raise tuf_errors.RepositoryError(f"A {signed.type} came where a root has to be")
    trusted.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
    signed.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
    if signed.version != trusted.version + 1:
        raise tuf_errors.BadVersionNumberError(f"Root {signed.version} came after root {trusted.version}")
    return signed


def _find(root: Root, files: Mapping[str, bytes], path: str) -> TargetFile | None:
    """The target at a path, looked for as TUF does (specification, section 5.6.7), by signatures alone."""
    todo: list[tuple[Root | Targets, str]] = [(root, Targets.type)]
    visited: set[str] = set()
    while todo:
        parent, name = todo.pop(0)
        if name in visited or name not in files:
            continue
        visited.add(name)
        metadata: Metadata[Targets] = Metadata[Targets].from_bytes(files[name])
        parent.verify_delegate(name, metadata.signed_bytes, metadata.signatures)
        role = metadata.signed
        if found := role.targets.get(path):
            return found
        children = role.delegations.get_roles_for_target(path) if role.delegations else ()
        below: list[tuple[Root | Targets, str]] = []
        for child, terminating in children:
            below.append((role, child))
            if terminating:
                todo = []
                break
        todo = below + todo
    return None


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all; a proof or a root that is lost with the power is fetched again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".new")
    part.write_bytes(content)
    part.rename(path)


class _TufFetcher(FetcherInterface):
    """ngclient's door to the topic reader."""

    def __init__(self, fetcher: MetadataSource) -> None:
        self._fetcher = fetcher

    def _fetch(self, url: str) -> Iterator[bytes]:
        file = PurePosixPath(url).name
        try:
            content = self._fetcher.fetch(file)
        except MissingFile:
            raise tuf_errors.DownloadHTTPError(f"{file} is not published", 404) from None
        return iter((content,))


def _seen(updater: Updater) -> Seen:
    """What a refresh has verified.

    Raises:
        MalformedMessageError: a version is larger than any may be.
    """
    trusted = updater._trusted_set  # noqa: SLF001 - see _updater
    for role in trusted:
        _demand_bounded(role.version, "A version")
    return Seen(trusted.root.version, trusted.timestamp.version, _online_keys(trusted.root))


def _demand_bounded(number: object, what: str) -> None:
    """Hold a number of a signed document against what every reader can keep.

    Raises:
        MalformedMessageError: it is none of those.
    """
    if type(number) is not int or not 0 <= number <= wire.MAX_NUMBER:
        raise MalformedMessageError(f"{what} in signed metadata is no whole number up to {wire.MAX_NUMBER}.")


def _online_keys(root: Root) -> str:
    """Digest of the key ids of snapshot and timestamp."""
    keyids = sorted({*root.roles["snapshot"].keyids, *root.roles["timestamp"].keyids})
    return sha256_hex(" ".join(keyids).encode())


def _image_target(target: TargetFile) -> ImageTarget:
    """Our view of a signed target.

    Raises:
        MalformedMessageError: it has no SHA-256, or is described in another shape.
    """
    sha256 = target.hashes.get("sha256")
    if sha256 is None:
        raise MalformedMessageError(f"{target.path} has no SHA-256.")
    _demand_bounded(target.length, "A length")
    return ImageTarget(target.path, target.length, sha256, wire.read_custom(target.custom))


@contextlib.contextmanager
def _as_ours() -> Iterator[None]:
    """Turn tuf's exceptions into ours, most telling class first."""
    try:
        yield
    except tuf_errors.ExpiredMetadataError as error:
        raise ExpiredMetadataError(f"{error}.") from error
    except tuf_errors.BadVersionNumberError as error:
        raise RollbackAttackError(f"{error}.") from error
    except tuf_errors.DownloadLengthMismatchError as error:
        raise TamperedMetadataError(f"{error}.") from error
    except tuf_errors.DownloadError as error:
        if isinstance(error.__cause__, EdgewrightError):
            raise error.__cause__ from None
        raise BlobTimeoutError(f"Metadata did not arrive: {error}.") from error
    except (tuf_errors.RepositoryError, ValueError) as error:
        raise TamperedMetadataError(f"{error}.") from error
    except MalformedMessageError as error:
        raise TamperedMetadataError(error.sentence) from error


# ngclient logs each root that it probes for; a device's log is no place for that.
logging.getLogger("tuf").setLevel(logging.WARNING)
