"""Stolen keys at work: what somebody signs who took some of a repository's keys and holds the broker.

A thief changes published documents, signs them with what was taken, and retains them. He cannot take back
what a key that he lacks has signed.
"""

import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import DelegatedRole, Key, Metadata, MetaFile, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from edgewright.wire import topics
from simulators.repository import MODEL, RepositorySimulator
from tests.attacks.stage import file_of

ONLINE = ("snapshot", "timestamp")


class Thief:
    """Holds the broker and the keys of some roles of a simulated repository."""

    def __init__(self, simulator: RepositorySimulator, *roles: str) -> None:
        self._simulator = simulator
        self.keys: dict[str, CryptoSigner] = {role: simulator._keys[role] for role in roles}

    def sign(self, role: str, change: Callable[[Any], None], *signers: CryptoSigner) -> None:
        """Publish a changed next version of a role, signed with ``signers`` or the role's stolen key."""
        document = self.newest(role)
        document.signed.version += 1
        document.signed.expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=300)
        change(document.signed)
        document.signatures.clear()
        for signer in signers or (self.keys[role],):
            document.sign(signer, append=True)
        version = document.signed.version
        file = "timestamp.json" if role == "timestamp" else f"{version}.{role}.json"
        content = document.to_bytes(JSONSerializer(compact=True))
        self._simulator.topics.publish(topics.metadata(file), zlib.compress(content))
        self._simulator._retain_head()

    def newest(self, role: str) -> Metadata[Any]:
        """The newest published document of a role."""
        topic = topics.timestamp() if role == "timestamp" else file_of(self._simulator, role)
        return Metadata[Any].from_bytes(zlib.decompress(self._simulator.topics.retained[topic]))

    def point_online_to(self, role: str, version: int, jump: int = 0) -> None:
        """With the online keys: a snapshot that names a version of a role, and its timestamp.

        Args:
            role: file name without its number and ending.
            version: of it.
            jump: added to the versions of snapshot and timestamp.
        """

        def name_role(snapshot: Snapshot) -> None:
            snapshot.version += jump
            snapshot.meta[f"{role}.json"] = MetaFile(version)

        self.sign("snapshot", name_role)
        newest = int(self.newest("snapshot").signed.version)

        def name_snapshot(timestamp: Timestamp) -> None:
            timestamp.version += jump
            timestamp.snapshot_meta = MetaFile(newest)

        self.sign("timestamp", name_snapshot)


class ThresholdRepository(RepositorySimulator):
    """A repository whose model's role needs two of two release keys, and whose root two of three."""

    def __init__(self) -> None:
        self.second = {role: [CryptoSigner.generate_ed25519()] for role in (MODEL, "root")}
        self.second["root"].append(CryptoSigner.generate_ed25519())
        super().__init__()

    def _delegations(self, models: tuple[str, ...]) -> Any:
        delegations = super()._delegations(models)
        role: DelegatedRole = (delegations.roles or {})[MODEL]
        key: Key = self.second[MODEL][0].public_key
        delegations.keys[key.keyid] = key
        role.keyids.append(key.keyid)
        role.threshold = 2
        return delegations

    def _sign(self, signed: Any, role: str) -> bytes:
        if isinstance(signed, Root) and role == "root":
            for signer in self.second["root"]:
                signed.add_key(signer.public_key, "root")
            signed.roles["root"].threshold = 2
        document: Metadata[Any] = Metadata.from_bytes(super()._sign(signed, role))
        for signer in self.second.get(role, []):
            document.sign(signer, append=True)
        return document.to_bytes(JSONSerializer(compact=True))


def swap_artifact(path: str, sha256: str) -> Callable[[Targets], None]:
    """Let a role's target have other bytes."""

    def change(role: Targets) -> None:
        role.targets[path].hashes["sha256"] = sha256

    return change
