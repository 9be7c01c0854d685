"""A controller in memory: image repository, director, retained topics; it can sign wrong things on purpose.

It stands where the broker and everything behind it stand: an agent reads its ``topics`` with its own
reader. Attack tests first let it do something legitimate, then change what it signs (``assign`` with lies)
or what is retained (``topics.retained``), and look at what the device does.
"""

import zlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

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

from edgewright.wire import messages, topics
from edgewright.wire.assignment import FIELD, Orders, TargetCustom
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.manifest import Manifest, encode_manifest, split_blob, target_path
from simulators.topics import MemoryTopics

ONLINE_ROLES: Final = ("targets", "snapshot", "timestamp")
DEVICE: Final = "robot-1"
TARGET: Final = "x86_64-ort-cpu"
MODEL: Final = "garment-packing"


class RepositorySimulator:
    """Keys, documents and topics of one small fleet.

    Attributes:
        topics: what the broker retains.
        image_root, director_root: what a device is enrolled with.
        life: how long new documents last; a negative one makes expired documents.
        assignment_version: of the last document that ``assign`` numbered by itself.
    """

    def __init__(self, models: tuple[str, ...] = (MODEL,), broker: MemoryTopics | None = None) -> None:
        self.topics = broker or MemoryTopics()
        self.life = timedelta(days=7)
        self.assignment_version = 0
        self._keys = {
            role: CryptoSigner.generate_ed25519()
            for role in ("root", *ONLINE_ROLES, *models, "director-root", "director")
        }
        self._root = Root(roles={role: self._role(role) for role in ("root", *ONLINE_ROLES)})
        for role in ("root", *ONLINE_ROLES):
            self._root.add_key(self._keys[role].public_key, role)
        self._targets = Targets(delegations=self._delegations(models))
        self._roles = {model: Targets() for model in models}
        self._snapshot, self._timestamp = Snapshot(), Timestamp()
        self.image_root = self._sign(self._root, "root")
        self.director_root = self._make_director_root()
        self.publish()

    def publish(self) -> None:
        """Sign what changed since, number it and retain it: files first, the timestamp, then the hint."""
        self._snapshot.meta["targets.json"] = MetaFile(self._targets.version)
        self._retain_metadata(f"{self._targets.version}.targets.json", self._sign(self._targets, "targets"))
        for model, role in self._roles.items():
            self._snapshot.meta[f"{model}.json"] = MetaFile(role.version)
            self._retain_metadata(f"{role.version}.{model}.json", self._sign(role, model))
        self._retain_metadata(f"{self._root.version}.root.json", self._sign(self._root, "root"))
        self._timestamp.snapshot_meta = MetaFile(self._snapshot.version)
        self._retain_metadata(
            f"{self._snapshot.version}.snapshot.json", self._sign(self._snapshot, "snapshot")
        )
        self._retain_metadata("timestamp.json", self._sign(self._timestamp, "timestamp"))
        self._retain_head()

    def release(self, manifest: Manifest, *blobs: bytes) -> str:
        """Publish a manifest and its blobs as a signed target; its path."""
        for data in (*blobs, encode_manifest(manifest)):
            for piece in split_blob(data)[1]:
                self.topics.publish(topics.chunk(sha256_hex(piece)), piece)
        custom = TargetCustom(manifest.model, manifest.target, manifest.version, manifest.release_counter)
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

    def assign(
        self,
        path: str,
        device: str = DEVICE,
        *,
        version: int | None = None,
        orders: Mapping[str, Any] | None = None,
        lies: Mapping[str, Any] | None = None,
        signed_by: str = "director",
    ) -> bytes:
        """Sign and retain a device's assignment; its bytes.

        Args:
            path: target that the device shall run, one that was released.
            device: whose topic it goes to.
            version: of the document, the next one by itself.
            orders: fields of ``Orders`` that differ from the honest ones.
            lies: fields of the target's description (``length``, ``sha256``, or of ``TargetCustom``)
                that differ from what the image repository signed.
            signed_by: whose key signs it.
        """
        raw = self.sign_assignment(
            path, device, version=version, orders=orders, lies=lies, signed_by=signed_by
        )
        self.topics.publish(topics.assignment(device), raw)
        return raw

    def sign_assignment(
        self,
        path: str,
        device: str = DEVICE,
        *,
        version: int | None = None,
        orders: Mapping[str, Any] | None = None,
        lies: Mapping[str, Any] | None = None,
        signed_by: str = "director",
    ) -> bytes:
        """See ``assign``; nothing is retained."""
        if version is None:
            self.assignment_version += 1
            version = self.assignment_version
        honest = Orders(
            device, int(datetime.now(UTC).timestamp()), 1, self._root.version, self._timestamp.version
        )
        said = msgspec.structs.replace(honest, **(orders or {}))
        document = Targets(
            version=version,
            expires=self._expires(),
            targets={path: self._described(path, lies or {})},
            unrecognized_fields={FIELD: msgspec.to_builtins(said)},
        )
        return self._sign(document, signed_by)

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
        prefix = topics.metadata("x.json").removesuffix("x.json")
        files = tuple(
            topic.removeprefix(prefix) for topic in self.topics.retained if topic.startswith(prefix)
        )
        head = messages.Head(root=self._root.version, files=files)
        self.topics.publish(topics.head(), messages.encode(head))

    def _sign(self, signed: Signed, role: str) -> bytes:
        if not isinstance(signed, Root):
            signed.expires = self._expires()
        else:
            signed.expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=700)
        metadata: Metadata[Any] = Metadata(signed)
        metadata.sign(self._keys[role])
        return metadata.to_bytes(JSONSerializer(compact=True))

    def _expires(self) -> datetime:
        return datetime.now(UTC).replace(microsecond=0) + self.life

    def _role(self, role: str) -> Role:
        return Role([self._keys[role].public_key.keyid], 1)

    def _delegations(self, models: tuple[str, ...]) -> Delegations:
        keys: dict[str, Key] = {
            self._keys[model].public_key.keyid: self._keys[model].public_key for model in models
        }
        roles = {
            model: DelegatedRole(
                model,
                [self._keys[model].public_key.keyid],
                1,
                terminating=True,
                paths=[f"{model}/*/*.json"],
            )
            for model in models
        }
        return Delegations(keys, roles)

    def _make_director_root(self) -> bytes:
        roles = {role: self._role("director") for role in ONLINE_ROLES}
        root = Root(roles={"root": self._role("director-root"), **roles})
        root.add_key(self._keys["director-root"].public_key, "root")
        for role in ONLINE_ROLES:
            root.add_key(self._keys["director"].public_key, role)
        return self._sign(root, "director-root")


def _target_file(path: str, manifest: bytes, custom: TargetCustom) -> TargetFile:
    return TargetFile(
        len(manifest), {"sha256": sha256_hex(manifest)}, path, {"custom": msgspec.to_builtins(custom)}
    )
