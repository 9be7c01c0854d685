"""The configuration of a NATS server with MQTT, embedded or a site's own.

The rules of its access list:

* A client is who its certificate says (``verify_and_map``). NATS reads no revocation list, so each key that
  is admitted has a user of its own, named by its certificate's ``urn:edgewright:key:...``: whose entry goes
  is disconnected at once and cannot come back.
* MQTT's ``a/#`` is two subjects, ``a`` and ``a.>``; a dot in a topic's level is written ``//``.
* Every user may come by MQTT only. The entries have no password, so on the server's own port, where no
  certificate is asked for, anybody could use them.
* A device publishes on its six topics and nowhere below them: everything that it publishes can be retained,
  and would fill the disk. What it can still fill, sessions under other client ids, ends at ``STORE_BYTES``.
* The server cannot bind a client id to a certificate. A device's id therefore ends in a part of its key's
  digest, which TLS 1.3 shows to nobody on the way.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from edgewright.controller.broker.access import Admitted
from edgewright.controller.identity.certificates import key_urn
from edgewright.wire import topics

MAX_PAYLOAD_BYTES: Final = 2 * 1024 * 1024
"""Four times the contract's largest message; the server's own default is 1 MB."""

MAX_ACK_PENDING: Final = 1000
"""QoS 1 messages that a subscriber may leave unacknowledged: it caps throughput at so many a round trip."""

LOAD_TIMEOUT_S: Final = 60
"""How long the server may take to load retained messages from its store for one SUBSCRIBE. After its own 5 s
it grants the SUBSCRIBE and delivers nothing: measured when 50 clients asked for 20 MB each at once."""

STORE_BYTES: Final = 16 * 1024**3
"""The most that retained messages and sessions may take of the disk; the server's default is three quarters
of what is free."""

MOST_BYTES: Final = STORE_BYTES * 3 // 4
"""What may be published on it. A server whose store is full takes no new connection, not even to make room
(measured with 2.15.1); the rest is for sessions."""

LOG_BYTES: Final = 10 * 1024 * 1024
USERS_FILE: Final = "users.conf"


def configuration(folder: Path, host: str, port: int, mqtt: str = "", users: str = "") -> str:
    """The server's configuration file.

    The server insists on a port of its own protocol beside MQTT: it gets any free one on loopback.

    Args:
        folder: for its log and its store.
        host: where MQTT listens.
        port: of MQTT.
        mqtt: more for the block ``mqtt``.
        users: the block ``authorization``.
    """
    return f"""server_name: "edgewright"
host: "127.0.0.1"
port: -1
log_file: {json.dumps(str(folder / "nats.log"))}
pid_file: {json.dumps(str(folder / "broker.pid"))}
logfile_size_limit: {LOG_BYTES}
logfile_max_num: 3
max_payload: {MAX_PAYLOAD_BYTES}
jetstream {{
  store_dir: {json.dumps(str(folder / "store"))}
  max_file_store: {STORE_BYTES}
}}
mqtt {{
  host: {json.dumps(host)}
  port: {port}
  max_ack_pending: {MAX_ACK_PENDING}
  js_api_timeout: "{LOAD_TIMEOUT_S}s"
{mqtt}}}
{users}"""


def tls_block(server: Path, authorities: Path) -> str:
    """The part of the block ``mqtt`` that asks for a certificate of the fleet."""
    return f"""  tls {{
    cert_file: {json.dumps(str(server))}
    key_file: {json.dumps(str(server))}
    ca_file: {json.dumps(str(authorities))}
    verify_and_map: true
    timeout: 10
  }}
"""


USERS_BLOCK: Final = f"""authorization {{
  include "{USERS_FILE}"
}}
"""


def users_file(controller_key_sha256: str, admitted: Iterable[Admitted]) -> str:
    """Everybody who may connect, and what each may do."""
    lines = [_user(controller_key_sha256, [">"], [">"])]
    lines += [_device(device, key) for device, key in admitted]
    return "users = [\n" + "\n".join(lines) + "\n]\n"


def subjects(topic_filter: str) -> list[str]:
    """The subjects of an MQTT filter.

    >>> subjects("ew/1/d/press.left/#")
    ['ew.1.d.press//left', 'ew.1.d.press//left.>']
    >>> subjects("ew/1/up/02/r1/hello")
    ['ew.1.up.02.r1.hello']
    """
    stem = ".".join(level.replace(".", "//") for level in topic_filter.removesuffix("/#").split("/"))
    return [stem, f"{stem}.>"] if topic_filter.endswith("/#") else [stem]


def _device(device: str, key_sha256: str) -> str:
    read = [subject for name in (*topics.DOWN_FILTERS, topics.down_of(device)) for subject in subjects(name)]
    publish = [subject for kind in topics.UP_KINDS for subject in subjects(topics.up(device, kind))]
    return _user(key_sha256, publish, read)


def _user(key_sha256: str, publish: Sequence[str], subscribe: Sequence[str]) -> str:
    # One line: inside braces the server separates pairs by commas or by ends of lines.
    permissions = f"publish: {json.dumps(publish)}, subscribe: {json.dumps(subscribe)}"
    name = json.dumps(key_urn(key_sha256))
    return f'  {{ user: {name}, allowed_connection_types: ["MQTT"], permissions: {{ {permissions} }} }}'
