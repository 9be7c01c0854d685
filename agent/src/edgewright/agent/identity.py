"""Who this device is: its key, its certificate, and the authority that it trusts.

::

    identity/            a link to the folder in force, so that all of it changes in one rename
    identity-<number>/   key.pem, cert.pem (with the issuer's), ca.pem, identity.json; each 0600

The folder of the last identity stays until the next renewal: a connection may still be reading it. What the
supervisor has to know of the certificate stands in ``identity.json``, because X.509 belongs to short-lived
processes (``renewal``).
"""

import hashlib
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from edgewright.agent.devicekey import DeviceKey
from edgewright.agent.privatefiles import sync_folder, write_private
from edgewright.agent.settings import Settings
from edgewright.agent.tls import TlsContext, presenting
from edgewright.wire.errors import IdentityError

FOLDER: Final = "identity"
RENEWAL_SHARE: Final = 2 / 3
"""Of its life, after which a certificate is renewed: 60 of 90 days, which leaves 30 for a device offline."""

SPREAD_SHARE: Final = 0.05
"""Devices that were enrolled in one hour do not all renew in one: each waits for up to this much longer."""


class _Record(msgspec.Struct, frozen=True):
    device: str
    issued: float
    expires: float


@dataclass(frozen=True)
class Identity:
    """What a device shows and signs with.

    Attributes:
        device: its id.
        key: signs what it says.
        certificate_issued, certificate_expires: seconds since the epoch; 0 where it has no certificate.
        folder: the files in force when it was loaded.
    """

    device: str
    key: DeviceKey
    certificate_issued: float
    certificate_expires: float
    folder: Path

    @classmethod
    def load(cls, data: Path) -> "Identity":
        """Read the identity in a data folder.

        Raises:
            IdentityError: a part is missing or cannot be read.
        """
        folder = (data / FOLDER).resolve()
        path = folder / "identity.json"
        try:
            record = msgspec.json.decode(path.read_bytes(), type=_Record)
        except OSError as error:
            raise IdentityError(f"The identity {path} cannot be read: {error.strerror}.") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise IdentityError(f"The identity {path} is damaged: {error}.") from error
        key = DeviceKey.load(folder / "key.pem")
        return cls(record.device, key, record.issued, record.expires, folder)

    @property
    def client_id(self) -> str:
        """The MQTT client id; who does not know the key cannot take this device's place on the broker.

        NATS refuses a dot in it, and no device id has a tilde.
        """
        return f"{self.device.replace('.', '~')}~{hashlib.sha256(self.key.public_der()).hexdigest()[:32]}"

    def due(self, now: float) -> bool:
        """Whether the certificate should be renewed; ``now`` is in seconds since the epoch."""
        life = self.certificate_expires - self.certificate_issued
        spread = int.from_bytes(hashlib.sha256(self.device.encode()).digest()[:2], "big") / 0xFFFF
        return life > 0 and now >= self.certificate_issued + life * (RENEWAL_SHARE + SPREAD_SHARE * spread)

    def tls_context(self) -> TlsContext:
        """A client's TLS context for broker and door.

        Raises:
            IdentityError: certificate or authority cannot be used.
        """
        return presenting(self.folder)


def renew_command(settings: Settings) -> list[str]:
    """The child process that renews the certificate once.

    Its exit status is 0, or the number of the error that it wrote to standard error. Afterwards
    ``Identity.load`` gives the new one, and ``Link.reconnect`` shows it to the broker.
    """
    return [sys.executable, "-m", "edgewright.agent.renewal", settings.data, settings.door]


def save(
    data: Path,
    device: str,
    key: DeviceKey,
    *,
    certificates: bytes = b"",
    authority: bytes = b"",
    issued: float = 0.0,
    expires: float = 0.0,
) -> None:
    """Put an identity in force, whole or not at all.

    Args:
        data: the data folder.
        device: the device's id.
        key: its key.
        certificates: its certificate and its issuer's, PEM; none on a test rig's broker without TLS.
        authority: the trusted root, PEM.
        issued: when the certificate was issued, seconds since the epoch.
        expires: when it ends.

    Raises:
        OSError: the folder cannot be written.
    """
    data.mkdir(parents=True, exist_ok=True)
    link, before = data / FOLDER, sorted(data.glob(f"{FOLDER}-*"), key=_number)
    folder = data / f"{FOLDER}-{_number(before[-1]) + 1 if before else 1}"
    folder.mkdir(mode=0o700)
    write_private(folder / "key.pem", key.pem())
    write_private(folder / "cert.pem", certificates)
    write_private(folder / "ca.pem", authority)
    write_private(folder / "identity.json", msgspec.json.encode(_Record(device, issued, expires)))
    sync_folder(folder)
    sync_folder(data)  # A link that survives a power cut must not name a folder that does not.
    fresh = data / f"{FOLDER}.new"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(folder.name)
    last = link.resolve()
    fresh.rename(link)
    sync_folder(data)
    for old in before:
        if old.resolve() != last:
            shutil.rmtree(old)


def _number(folder: Path) -> int:
    number = folder.name.removeprefix(f"{FOLDER}-")
    return int(number) if number.isdecimal() else 0
