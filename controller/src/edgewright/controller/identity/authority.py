"""The fleet's certificate authority: a root, an issuing authority below it, and what they have signed.

::

    ca/root.pem         root, P-384: key and certificate
    ca/issuing.pem      issuing authority, P-256: key and certificate
    ca/ca.pem           both certificates, for whoever verifies
    ca/crl.pem          revocation lists of both
    ca/server.pem       key, certificate and issuer of broker and door
    ca/controller.pem   the same of the controller's own link to the broker

Every file has mode 0600, and a key lies in one file with its certificate, so that no crash can part them.

A controller that makes its authority by itself makes a **laboratory authority**: the root's key lies on the
machine that serves the fleet. It is not needed there: move ``ca/root.pem`` away and leave its certificate in
``ca/ca.pem``, and only renewing the issuing authority (ten years) and the root's own list wait for it.
"""

import hashlib
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edgewright.controller.durable import Write, write_durably
from edgewright.controller.errors import CertificateAuthorityError
from edgewright.controller.identity import certificates
from edgewright.controller.identity.certificates import Pair, Revoked

CONTROLLER: Final = "edgewright-controller"
"""Common name of the controller's own certificate."""

DEVICE_LIFE: Final = timedelta(days=90)
SERVER_LIFE: Final = timedelta(days=90)
SERVER_RENEWAL: Final = timedelta(days=30)
"""A server's certificate is made anew when it has less than this before it."""

TAKEOVER_LIFE: Final = timedelta(minutes=1)
LIST_LIFE: Final = timedelta(days=90)
"""A broker refuses everybody once its list is too old: it outlives a long stop of the controller."""

HOME_NAMES: Final = ("localhost", "127.0.0.1", "::1")

_NOTICE: Final = """\
The controller made this certificate authority at its first start; the root's key lies on this machine.
Whoever can read this folder can be any device of the fleet, and the broker and the controller to them.
Use it on a bench. For a factory move root.pem to where only its owners reach it: nothing here needs it.
"""

logger = logging.getLogger(__name__)


class Issued(NamedTuple):
    """A certificate that was made for a device.

    Attributes:
        serial: hexadecimal.
        certificate: the certificate.
        chain_pem: it and its issuer.
        public_key: SubjectPublicKeyInfo, DER.
        issued, expires: seconds since the epoch.
    """

    serial: str
    certificate: x509.Certificate
    chain_pem: str
    public_key: bytes
    issued: float
    expires: float

    @property
    def key_sha256(self) -> str:
        """By which a broker admits it."""
        return hashlib.sha256(self.public_key).hexdigest()


class CertificateAuthority:
    """Signs certificates and revocation lists; see the module for its files."""

    def __init__(self, folder: Path, write: Write = write_durably) -> None:
        self._folder = folder
        self._write = write
        self._issuing: Pair | None = None

    @property
    def bundle(self) -> Path:
        """The certificates that everybody trusts, PEM."""
        return self._folder / "ca.pem"

    @property
    def revocation_lists(self) -> Path:
        """The newest lists of both authorities, PEM."""
        return self._folder / "crl.pem"

    @property
    def server(self) -> Path:
        """Key and certificate of broker and door."""
        return self._folder / "server.pem"

    @property
    def controller(self) -> Path:
        """Key and certificate of the controller's link to the broker."""
        return self._folder / "controller.pem"

    def ensure(self, names: Sequence[str] = ()) -> bool:
        """Make what is missing and renew what ends soon; whether the server's certificate is a new one.

        Args:
            names: of this machine, beside its loopback names.

        Raises:
            CertificateAuthorityError: a file is damaged, or a part of the folder is gone.
        """
        now = datetime.now(UTC)
        if not self._folder.exists():
            self._make(now)
        wanted = tuple(dict.fromkeys((*HOME_NAMES, *names)))
        if self._stale(self.controller, now):
            self._put(self.controller, self._leaf(CONTROLLER, [], certificates.CLIENT, now))
        if not self._stale(self.server, now, wanted):
            return False
        alternatives = certificates.host_names(wanted)
        self._put(self.server, self._leaf(wanted[-1], alternatives, certificates.SERVER, now))
        return True

    def warn(self) -> None:
        """Say that this is a laboratory authority, if it is one; a controller calls it at each start."""
        if (self._folder / "root.pem").exists():
            logger.warning(
                "LABORATORY AUTHORITY: the root key of the fleet's certificates lies in %s. "
                "Move root.pem away before this serves a factory.",
                self._folder,
            )

    @property
    def authorities(self) -> list[x509.Certificate]:
        """Root and issuing authority.

        Raises:
            CertificateAuthorityError: they cannot be read.
        """
        try:
            return x509.load_pem_x509_certificates(self.bundle.read_bytes())
        except (OSError, ValueError) as error:
            raise CertificateAuthorityError(f"{self.bundle} cannot be read: {error}.") from error

    @property
    def root_pem(self) -> str:
        """The root's certificate, PEM."""
        return certificates.pem_of(self.authorities[0]).decode()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the root's certificate, hexadecimal: a device pins it by its token."""
        return certificates.fingerprint_of(self.authorities[0])

    def issue_device(self, device: str, key: ec.EllipticCurvePublicKey) -> Issued:
        """A certificate for a device's key."""
        names = [x509.UniformResourceIdentifier(certificates.device_urn(device))]
        return self._issue(device, key, [*names, *certificates.key_names(key)], DEVICE_LIFE)

    def issue_server(self, names: Sequence[str]) -> bytes:
        """Key, certificate and issuer for a broker that is reached by these names."""
        found = certificates.host_names(names)
        pair = self._leaf(names[0], found, certificates.SERVER, datetime.now(UTC))
        return pair.pem + certificates.pem_of(self._authority().certificate)

    def renewed_server(self, path: Path) -> bytes:
        """A new certificate in place of a server's that ends soon; empty while it does not.

        Raises:
            CertificateAuthorityError: the file is damaged.
        """
        held = _read_pair(path).certificate
        if held.not_valid_after_utc - datetime.now(UTC) >= SERVER_RENEWAL:
            return b""
        san = held.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [*san.get_values_for_type(x509.DNSName), *map(str, san.get_values_for_type(x509.IPAddress))]
        return self.issue_server(names)

    def issue_takeover(self, device: str) -> bytes:
        """Key and certificate for one minute, by which the controller takes a device's place on a broker.

        The broker then ends the device's connection (MQTT 3.1.1, section 3.1.4).
        """
        key = ec.generate_private_key(ec.SECP256R1())
        issued = self._issue(
            device, key.public_key(), certificates.key_names(key.public_key()), TAKEOVER_LIFE
        )
        return Pair(issued.certificate, key).pem + certificates.pem_of(self._authority().certificate)

    def publish_revoked(self, revoked: Sequence[Revoked]) -> None:
        """Write the revocation lists, whole or not at all.

        The root's own list is made with the root's key where that lies here, and kept where it does not.

        Raises:
            CertificateAuthorityError: the root's list is gone, and so is its key.
        """
        now = datetime.now(UTC)
        own = self._folder / "root-crl.pem"
        if (self._folder / "root.pem").exists():
            self._write(own, _root_list(self._load("root.pem"), now))
        try:
            lasting = own.read_bytes()
        except OSError as error:
            raise CertificateAuthorityError(f"{own} cannot be read: {error.strerror}.") from error
        self._write(self.revocation_lists, _issuing_list(self._authority(), revoked, now) + lasting)

    def controller_key_sha256(self) -> str:
        """By which a broker admits the controller."""
        key = self._load("controller.pem").key.public_key()
        return hashlib.sha256(certificates.spki_of(key)).hexdigest()

    def _make(self, now: datetime) -> None:
        # Built beside its place: a crash leaves no half of an authority, and none without its lists.
        root = certificates.make_root(now)
        issuing = certificates.make_issuing(root, now)
        building = self._folder.with_name(f".{self._folder.name}.part")
        both = certificates.pem_of(root.certificate) + certificates.pem_of(issuing.certificate)
        files = {"root.pem": root.pem, "issuing.pem": issuing.pem, "ca.pem": both}
        lasting = _root_list(root, now)
        files |= {"root-crl.pem": lasting, "crl.pem": _issuing_list(issuing, (), now) + lasting}
        for name, content in (*files.items(), ("LABORATORY.txt", _NOTICE.encode())):
            self._write(building / name, content)
        building.replace(self._folder)

    def _issue(
        self,
        device: str,
        key: ec.EllipticCurvePublicKey,
        names: Sequence[x509.GeneralName],
        life: timedelta,
    ) -> Issued:
        issuing, now = self._authority(), datetime.now(UTC)
        made = certificates.make_leaf(issuing, key, device, names, certificates.CLIENT, now, life)
        chain = certificates.pem_of(made) + certificates.pem_of(issuing.certificate)
        return Issued(
            serial=f"{made.serial_number:x}",
            certificate=made,
            chain_pem=chain.decode(),
            public_key=certificates.spki_of(key),
            issued=now.timestamp(),
            expires=made.not_valid_after_utc.timestamp(),
        )

    def _leaf(
        self,
        name: str,
        alternatives: Sequence[x509.GeneralName],
        usage: x509.ObjectIdentifier,
        now: datetime,
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        names = [*alternatives, *certificates.key_names(key.public_key())]
        made = certificates.make_leaf(
            self._authority(), key.public_key(), name, names, usage, now, SERVER_LIFE
        )
        return Pair(made, key)

    def _put(self, path: Path, pair: Pair) -> None:
        self._write(path, pair.pem + certificates.pem_of(self._authority().certificate))

    def _stale(self, path: Path, now: datetime, names: Sequence[str] = ()) -> bool:
        if not path.exists():
            return True
        certificate = self._load(path.name).certificate
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        missing = set(certificates.host_names(names)) - set(san)
        return bool(missing) or certificate.not_valid_after_utc - now < SERVER_RENEWAL

    def _authority(self) -> Pair:
        if self._issuing is None:
            self._issuing = self._load("issuing.pem")
        return self._issuing

    def _load(self, name: str) -> Pair:
        return _read_pair(self._folder / name)


def _issuing_list(issuing: Pair, revoked: Sequence[Revoked], now: datetime) -> bytes:
    return certificates.make_revocation_list(issuing, revoked, _list_number(now), now, LIST_LIFE)


def _root_list(root: Pair, now: datetime) -> bytes:
    return certificates.make_revocation_list(root, (), _list_number(now), now, certificates.ISSUING_LIFE)


def _list_number(now: datetime) -> int:
    return int(now.timestamp() * 1000)


def _read_pair(path: Path) -> Pair:
    try:
        content = path.read_bytes()
        key = serialization.load_pem_private_key(content, password=None)
        certificate = x509.load_pem_x509_certificates(content)[0]
    except (OSError, ValueError, TypeError) as error:
        raise CertificateAuthorityError(f"{path} cannot be read: {error}.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateAuthorityError(f"{path} holds no key of the kind that this release makes.")
    return Pair(certificate, key)
