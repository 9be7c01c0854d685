"""A controller in memory: image repository, director, retained topics; it can sign wrong things on purpose.

It stands where the broker and everything behind it stand: an agent reads its ``topics`` with its own
reader. Attack tests first let it do something legitimate, then change what it signs (``assign`` with lies)
or what is retained (``topics.retained``), and look at what the device does.
"""

import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Key,
    Metadata,
    MetaFile,
    Role,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from edgewright.wire import messages, qualification, topics
from edgewright.wire.assignment import FIELD, Orders, TargetCustom
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.manifest import Manifest, encode_manifest, split_blob, target_path
from edgewright.wire.sealed import seal
from simulators.topics import MemoryTopics

ONLINE_ROLES: Final = ("targets", "snapshot", "timestamp")
DIRECTOR_ROLES: Final = ("director-root", "director", "acknowledge")
DEVICE: Final = "robot-1"
TARGET: Final = "x86_64-ort-cpu"
MODEL: Final = "garment-packing"


class RepositorySimulator:
    """Keys, documents and topics of one small fleet.

    Args:
        models: each gets a delegated role of its own.
        broker: where documents and chunks are retained.
        thresholds: signatures that a role needs, one without it; each role has as many keys, all in use.
            Roles are ``root``, ``targets``, ``snapshot``, ``timestamp``, a model, ``director-root``,
            ``director``, ``acknowledge``.

    Attributes:
        topics: what the broker retains.
        image_root, director_root: what a device is enrolled with.
        life: how long new documents last; a negative one makes expired documents.
        clock: the controller's, seconds since the epoch.
        assignment_version, qualification_version: of the last document that ``assign`` and
            ``order_qualification`` numbered by themselves.
    """

    def __init__(
        self,
        models: tuple[str, ...] = (MODEL,),
        broker: MemoryTopics | None = None,
        *,
        thresholds: Mapping[str, int] | None = None,
    ) -> None:
        self.topics = broker or MemoryTopics()
        self.life = timedelta(days=7)
        self.clock: Callable[[], float] = time.time
        self.assignment_version = self.qualification_version = 0
        self._thresholds = dict(thresholds or {})
        self._signed_roots: dict[int, bytes] = {}
        self._keys: dict[str, CryptoSigner] = {}
        self._more_keys: dict[str, tuple[CryptoSigner, ...]] = {}
        for role in ("root", *ONLINE_ROLES, *models, *DIRECTOR_ROLES):
            self._make_keys(role)
        self._root = Root(roles={role: self._role(role) for role in ("root", *ONLINE_ROLES)})
        for role in ("root", *ONLINE_ROLES):
            self._add_keys(self._root, role, role)
        self._targets = Targets(delegations=self._delegations(models))
        self._roles = {model: Targets() for model in models}
        self._snapshot, self._timestamp = Snapshot(), Timestamp()
        self.image_root = self._sign(self._root, "root")
        self._director_root = Root()
        self._fill_director_root()
        self.director_root = self._sign(self._director_root, "director-root")
        self._retain_director_root(self.director_root)
        self.publish()

    def publish(self) -> None:
        """Sign what changed since, number it and retain it: files first, the timestamp, then the hint."""
        self._snapshot.meta["targets.json"] = MetaFile(self._targets.version)
        self._retain_metadata(f"{self._targets.version}.targets.json", self._sign(self._targets, "targets"))
        for model, role in self._roles.items():
            self._snapshot.meta[f"{model}.json"] = MetaFile(role.version)
            self._retain_metadata(f"{role.version}.{model}.json", self._sign(role, model))
        version = self._root.version
        if version not in self._signed_roots:
            self._signed_roots[version] = self._sign(self._root, "root")
        self._retain_metadata(f"{version}.root.json", self._signed_roots[version])
        self._timestamp.snapshot_meta = MetaFile(self._snapshot.version)
        self._retain_metadata(
            f"{self._snapshot.version}.snapshot.json", self._sign(self._snapshot, "snapshot")
        )
        self._retain_metadata("timestamp.json", self._sign(self._timestamp, "timestamp"))
        self._retain_head()

    def release(self, manifest: Manifest, *blobs: bytes, min_counter: int = 0) -> str:
        """Publish a manifest and its blobs as a signed target; its path."""
        for data in (*blobs, encode_manifest(manifest)):
            for piece in split_blob(data)[1]:
                self.topics.publish(topics.chunk(sha256_hex(piece)), piece)
        custom = TargetCustom(
            manifest.model,
            manifest.target,
            manifest.version,
            manifest.release_counter,
            min_counter,
            confidential=manifest.encryption is not None,
        )
        path = target_path(manifest.model, manifest.target, manifest.version)
        self._roles[manifest.model].targets[path] = _target_file(path, encode_manifest(manifest), custom)
        self._roles[manifest.model].version += 1
        self.renew()
        return path

    def withdraw(self, path: str) -> None:
        """Remove a target from its role and publish."""
        role = self._roles[path.split("/", maxsplit=1)[0]]
        del role.targets[path]
        role.version += 1
        self.renew()

    def renew(self) -> None:
        """Publish a new snapshot and timestamp."""
        self._snapshot.version += 1
        self._timestamp.version += 1
        self.publish()

    def rotate_root(self) -> None:
        """Publish a next root version."""
        self._root.version += 1
        self.renew()

    def rotate_keys(self, *roles: str) -> None:
        """Give roles of the image repository's root new keys, in a next root that the old keys sign too."""
        old = self._signers("root")
        for role in roles:
            self._make_keys(role)
            self._root.roles[role].keyids.clear()
            self._add_keys(self._root, role, role)
        self._root.version += 1
        signers = {*old, *self._signers("root")}
        self._signed_roots[self._root.version] = self._sign_with(self._root, [*signers])
        self.renew()

    def rotate_director(
        self, *, signed_by: tuple[str, ...] = ("old", "new"), keep_director_key: bool = False
    ) -> bytes:
        """Publish a next root of the director with new keys everywhere; its bytes.

        Args:
            signed_by: ``old`` and ``new`` root keys; an attacker lacks one of them.
            keep_director_key: whether documents go on under the same key.
        """
        old = self._signers("director-root")
        for role in DIRECTOR_ROLES:
            if role != "director" or not keep_director_key:
                self._make_keys(role)
        groups = {"old": old, "new": self._signers("director-root")}
        version = self._director_root.version + 1
        self._director_root = Root(version=version)
        self._fill_director_root()
        raw = self._sign_with(self._director_root, [key for name in signed_by for key in groups[name]])
        self._retain_director_root(raw)
        self._retain_head()
        return raw

    def steal(self, role: str, count: int | None = None) -> "StolenKeys":
        """Copies of a role's keys, all of them or ``count``, in the hands of somebody else."""
        return StolenKeys(self._signers(role)[:count])

    def acknowledge(
        self, stream: str, through: int, *, hello: int = 0, keys: "StolenKeys | None" = None
    ) -> bytes:
        """A sealed acknowledgement, by the director root's ``timestamp`` role unless ``keys`` are given."""
        signer = (keys.signers if keys else self._signers("acknowledge"))[0]

        def sign(data: bytes) -> bytes:
            return bytes.fromhex(signer.sign(data).signature)

        return seal(messages.encode(messages.Ack(stream=stream, through=through, hello=hello)), "down", sign)

    def assign(
        self,
        path: str,
        device: str = DEVICE,
        *,
        version: int | None = None,
        orders: Mapping[str, Any] | None = None,
        lies: Mapping[str, Any] | None = None,
        signed_by: "str | StolenKeys" = "director",
    ) -> bytes:
        """Sign and retain a device's assignment; its bytes.

        Args:
            path: target that the device shall run, one that was released.
            device: whose topic it goes to.
            version: of the document, the next one by itself.
            orders: fields of ``Orders`` that differ from the honest ones.
            lies: fields of the target's description (``length``, ``sha256``, or of ``TargetCustom``)
                that differ from what the image repository signed.
            signed_by: whose keys sign it, a role or stolen ones.
        """
        raw = self.sign_assignment(
            path, device, version=version, orders=orders, lies=lies, signed_by=signed_by
        )
        self.topics.publish(topics.assignment(device), raw)
        return raw

    def propose(self, name: str, manifest: Manifest, *blobs: bytes) -> TargetFile:
        """Publish a candidate's manifest and blobs, which no role signs; what an order names it by."""
        for data in (*blobs, encode_manifest(manifest)):
            for piece in split_blob(data)[1]:
                self.topics.publish(topics.chunk(sha256_hex(piece)), piece)
        path = qualification.candidate_path(manifest.model, manifest.target, manifest.version, name)
        custom = TargetCustom(
            manifest.model,
            manifest.target,
            manifest.version,
            manifest.release_counter,
            confidential=manifest.encryption is not None,
        )
        return _target_file(path, encode_manifest(manifest), custom)

    def order_qualification(
        self,
        *candidates: TargetFile,
        device: str = DEVICE,
        version: int | None = None,
        orders: Mapping[str, Any] | None = None,
        life: timedelta = timedelta(days=1),
        signed_by: "str | StolenKeys" = "director",
    ) -> bytes:
        """Sign and retain an order that a device shall measure candidates; its bytes.

        Args:
            candidates: see ``propose``.
            device: whose topic it goes to.
            version: of the document, the next one by itself.
            orders: fields of ``QualificationOrders`` that differ from the honest ones.
            life: from its issue to its expiry.
            signed_by: whose keys sign it, a role or stolen ones.
        """
        if version is None:
            self.qualification_version += 1
            version = self.qualification_version
        honest = qualification.QualificationOrders(device, int(self.clock()), self._director_root.version)
        said = msgspec.structs.replace(honest, **(orders or {}))
        document = Targets(
            version=version,
            targets={candidate.path: candidate for candidate in candidates},
            unrecognized_fields={qualification.FIELD: msgspec.to_builtins(said)},
        )
        signers = self._signers(signed_by) if isinstance(signed_by, str) else signed_by.signers
        raw = self._sign_with(document, signers, life)
        self.topics.publish(topics.qualification(device), raw)
        return raw

    def sign_assignment(
        self,
        path: str,
        device: str = DEVICE,
        *,
        version: int | None = None,
        orders: Mapping[str, Any] | None = None,
        lies: Mapping[str, Any] | None = None,
        signed_by: "str | StolenKeys" = "director",
    ) -> bytes:
        """See ``assign``; nothing is retained."""
        if version is None:
            self.assignment_version += 1
            version = self.assignment_version
        honest = Orders(
            device,
            int(self.clock()),
            1,
            self._root.version,
            self._timestamp.version,
            min_director_root=self._director_root.version,
        )
        said = msgspec.structs.replace(honest, **(orders or {}))
        document = Targets(
            version=version,
            expires=self._now() + self.life,
            targets={path: self._described(path, lies or {})},
            unrecognized_fields={FIELD: msgspec.to_builtins(said)},
        )
        signers = self._signers(signed_by) if isinstance(signed_by, str) else signed_by.signers
        return self._sign_with(document, signers)

    def _described(self, path: str, lies: Mapping[str, Any]) -> TargetFile:
        real = self._roles[path.split("/", maxsplit=1)[0]].targets[path]
        custom = {key: lies.get(key, value) for key, value in real.unrecognized_fields["custom"].items()}
        return TargetFile(
            lies.get("length", real.length),
            {"sha256": lies.get("sha256", real.hashes["sha256"])},
            path,
            {"custom": custom},
        )

    def _retain_metadata(self, file: str, content: bytes) -> None:
        self.topics.publish(topics.metadata(file), zlib.compress(content))

    def _retain_head(self) -> None:
        roots = 0
        while topics.metadata(f"{roots + 1}.root.json") in self.topics.retained:
            roots += 1
        head = messages.Head(root=roots, director_root=self._director_root.version)
        self.topics.publish(topics.head(), messages.encode(head))

    def _retain_director_root(self, raw: bytes) -> None:
        self.topics.publish(topics.director_root(self._director_root.version), zlib.compress(raw))

    def _sign(self, signed: Signed, role: str) -> bytes:
        return self._sign_with(signed, self._signers(role))

    def _sign_with(
        self, signed: Signed, signers: Sequence[CryptoSigner], life: timedelta | None = None
    ) -> bytes:
        usual = timedelta(days=700) if isinstance(signed, Root) else self.life
        signed.expires = self._now() + (usual if life is None else life)
        metadata: Metadata[Any] = Metadata(signed)
        for signer in signers:
            metadata.sign(signer, append=True)
        return metadata.to_bytes(JSONSerializer(compact=True))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.clock(), UTC).replace(microsecond=0)

    def _make_keys(self, role: str) -> None:
        first, *more = (CryptoSigner.generate_ed25519() for _ in range(self._thresholds.get(role, 1)))
        self._keys[role], self._more_keys[role] = first, tuple(more)

    def _signers(self, role: str) -> tuple[CryptoSigner, ...]:
        return (self._keys[role], *self._more_keys[role])

    def _add_keys(self, root: Root, role: str, keys: str) -> None:
        for signer in self._signers(keys):
            root.add_key(signer.public_key, role)

    def _role(self, role: str) -> Role:
        return Role([], self._thresholds.get(role, 1))

    def _delegations(self, models: tuple[str, ...]) -> Delegations:
        signers = {model: self._signers(model) for model in models}
        keys: dict[str, Key] = {
            signer.public_key.keyid: signer.public_key for own in signers.values() for signer in own
        }
        roles = {
            model: DelegatedRole(
                model,
                [signer.public_key.keyid for signer in own],
                self._thresholds.get(model, 1),
                terminating=True,
                paths=[f"{model}/*/*.json"],
            )
            for model, own in signers.items()
        }
        return Delegations(keys, roles)

    def _fill_director_root(self) -> None:
        held = {
            "root": "director-root",
            "targets": "director",
            "snapshot": "director",
            "timestamp": "acknowledge",
        }
        for role, keys in held.items():
            self._director_root.roles[role] = self._role(keys)
            self._add_keys(self._director_root, role, keys)


class StolenKeys(NamedTuple):
    """Keys in the hands of somebody else."""

    signers: tuple[CryptoSigner, ...]

    @classmethod
    def made_up(cls) -> "StolenKeys":
        """A key that nobody trusts."""
        return cls((CryptoSigner.generate_ed25519(),))


def _target_file(path: str, manifest: bytes, custom: TargetCustom) -> TargetFile:
    return TargetFile(
        len(manifest), {"sha256": sha256_hex(manifest)}, path, {"custom": msgspec.to_builtins(custom)}
    )
