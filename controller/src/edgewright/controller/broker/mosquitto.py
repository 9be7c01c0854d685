"""The configuration of a site's mosquitto (2.0 or newer).

The rules of its access list:

* A client is the common name of its certificate, and its client id is that too: nobody can take another's
  place. Nine patterns serve the whole fleet.
* ``ew/1/up/+/<id>/report`` leaves the shard open, which no pattern can compute; the controller drops what
  does not come by the right one. Nothing is open below the kind: it could be retained, and fill the disk.
* The controller may also read how much memory the broker takes.
* It reads the revocation lists on SIGHUP. A connection that stands is not looked at again, so the controller
  ends it by connecting as that device once (``external``).
* The defaults for waiting messages lose acknowledged ones under load, and Nagle's algorithm makes chunks
  seventy times slower: both measured.
"""

from pathlib import Path
from typing import Final

from edgewright.controller.broker.report import HEAP
from edgewright.wire import topics

INFLIGHT_MESSAGES: Final = 200
"""mosquitto's own 20 caps QoS 1 at 20 messages a round trip."""

QUEUED_MESSAGES: Final = 10_000
"""mosquitto's own 1000 dropped 98 % of acknowledged messages in an overload."""

QUEUED_BYTES: Final = 64 * 1024 * 1024
"""What one client that does not read may cost."""

PACKET_BYTES: Final = 2 * 1024 * 1024


def configuration(folder: Path, host: str, port: int) -> str:
    """``mosquitto.conf``; an empty host listens on all addresses."""
    return f"""# Written by `edgewright broker config mosquitto`.
pid_file {folder}/broker.pid
persistence true
persistence_location {folder}/store/
autosave_on_changes true
autosave_interval 20
max_inflight_messages {INFLIGHT_MESSAGES}
max_queued_messages {QUEUED_MESSAGES}
max_queued_bytes {QUEUED_BYTES}
max_packet_size {PACKET_BYTES}
set_tcp_nodelay true
allow_anonymous false
acl_file {folder}/acl
listener {port}{f" {host}" if host else ""}
cafile {folder}/ca.pem
certfile {folder}/server.pem
keyfile {folder}/server.pem
crlfile {folder}/crl.pem
require_certificate true
use_identity_as_username true
use_username_as_clientid true
tls_version tlsv1.2
"""


def access_list(controller: str) -> str:
    """The file ``acl``; ``controller`` is the common name of the controller's certificate."""
    lines = [f"pattern write {topics.ROOT}/up/+/%u/{kind}" for kind in topics.UP_KINDS]
    lines += [f"pattern read {topics.down_of('x').replace('/x/', '/%u/')}"]
    lines += [f"pattern read {name}" for name in topics.DOWN_FILTERS]
    return "\n".join(
        [*lines, f"user {controller}", f"topic readwrite {topics.ROOT}/#", f"topic read {HEAP}", ""]
    )
