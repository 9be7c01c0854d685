"""The broker of a running controller, the embedded one or a site's own, and certificates for both sides."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from edgewright.controller.broker import nats
from edgewright.controller.broker.access import BatchedAccess
from edgewright.controller.broker.embedded import EmbeddedBroker, Security
from edgewright.controller.broker.external import BrokerFiles
from edgewright.controller.broker.probe import Address
from edgewright.controller.broker.report import BrokerProcess
from edgewright.controller.database.engine import Database
from edgewright.controller.errors import CertificateAuthorityError
from edgewright.controller.identity.authority import CertificateAuthority
from edgewright.controller.identity.register import DeviceRegister, admitted, revoked
from edgewright.controller.identity.tls import TlsContext, client_context, show_anew


class Site(NamedTuple):
    """What the rest of the controller needs of them.

    Attributes:
        authority: signs certificates.
        register: who holds one.
        broker: where it is for this controller.
        reached: where it is for a device that reached this controller by a host name.
        tls: what the controller's link speaks.
        process: the broker as this machine sees it.
        renew: renews the certificates that end soon; whether that of the door is a new one.
    """

    authority: CertificateAuthority
    register: DeviceRegister
    broker: Address
    reached: Callable[[str], Address]
    tls: TlsContext
    process: Callable[[], BrokerProcess]
    renew: Callable[[], bool]


def open_embedded(
    stack: ExitStack, root: Path, db: Database, listen: str, names: tuple[str, ...], port: int
) -> Site:
    """The authority, and the embedded broker that admits its certificates.

    Args:
        stack: ends the broker.
        root: the data folder.
        db: who is admitted.
        listen: address on which the broker listens.
        names: of this machine.
        port: of the broker; 0 takes the last one, or a free one.

    Raises:
        SurroundingsError: the authority or the broker cannot be had.
    """
    authority, own = _open_authority(root, db, names)
    security = Security(
        listen,
        authority.server,
        authority.bundle,
        lambda: own,
        lambda: nats.users_file(authority.controller_key_sha256(), admitted(db)),
    )
    broker = EmbeddedBroker(root / "broker", security, port)

    def refresh() -> None:
        authority.publish_revoked(revoked(db))
        broker.reload()

    def renew() -> bool:
        fresh = authority.ensure(names)
        show_anew(own, authority.controller)
        if fresh:
            broker.renew()
        return fresh

    address = broker.start()
    stack.callback(broker.stop)
    register = DeviceRegister(db, authority, _started(stack, BatchedAccess(refresh)))
    return Site(
        authority,
        register,
        address,
        # Whoever reached the door by a name reaches the broker by the same.
        lambda host: Address(host or address.host, address.port),
        own,
        lambda: BrokerProcess("embedded", broker.pid, broker.restarts, broker.last_failure),
        renew,
    )


def open_external(
    stack: ExitStack, root: Path, db: Database, names: tuple[str, ...], address: Address, folder: Path
) -> Site:
    """The authority, and a site's own broker that runs with the files in a folder.

    Raises:
        SurroundingsError: the authority cannot be had, or the folder holds no broker's files.
    """
    authority, own = _open_authority(root, db, names)
    files = BrokerFiles(folder, authority, lambda: admitted(db))

    def refresh() -> None:
        authority.publish_revoked(revoked(db))
        files.refresh()

    def renew() -> bool:
        fresh = authority.ensure(names)
        show_anew(own, authority.controller)
        return fresh

    refresh()
    access = BatchedAccess(refresh, lambda device: files.take_over(device, address))
    register = DeviceRegister(db, authority, _started(stack, access))
    return Site(authority, register, address, lambda _: address, own, files.process, renew)


def broker_files(data: Path, folder: Path) -> BrokerFiles:
    """The files of a site's broker, for a controller that need not run.

    Raises:
        CertificateAuthorityError: the authority in the data folder is damaged.
    """
    db = Database.in_folder(data)
    db.create()
    authority = _authority_of(data, db, ())
    return BrokerFiles(folder, authority, lambda: admitted(db))


def _open_authority(
    root: Path, db: Database, names: tuple[str, ...]
) -> tuple[CertificateAuthority, TlsContext]:
    authority = _authority_of(root, db, names)
    authority.warn()
    return authority, client_context(authority.bundle, authority.controller)


def _authority_of(root: Path, db: Database, names: tuple[str, ...]) -> CertificateAuthority:
    folder = root / "ca"
    if not folder.exists() and (admitted(db) or revoked(db)):
        # A new authority would be a stranger to every device.
        raise CertificateAuthorityError(f"The folder {folder} is gone, and devices hold its certificates.")
    authority = CertificateAuthority(folder)
    authority.ensure(names)
    if not authority.revocation_lists.exists():
        authority.publish_revoked(revoked(db))
    return authority


def _started(stack: ExitStack, access: BatchedAccess) -> BatchedAccess:
    access.start()
    stack.callback(access.stop)
    return access
