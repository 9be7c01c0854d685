"""What the agent says to systemd: that it is ready, that it lives, and what it logs.

Readiness and life go as datagrams to the socket that systemd names (sd_notify(3)); without one, nothing is
sent. Where standard error is the journal's, a line begins with its priority (sd-daemon(3)) and has no time
of its own: the journal has one.
"""

import contextlib
import logging
import os
import socket
import sys
from typing import Final

NOTIFY_SOCKET: Final = "NOTIFY_SOCKET"
READY: Final = "READY=1"
ALIVE: Final = "WATCHDOG=1"
STOPPING: Final = "STOPPING=1"

_PRIORITIES: Final = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.NOTSET, 7))
"""syslog's numbers (RFC 5424, table 2), for the least level that each is of."""


def notify(*states: str) -> None:
    """Tell the service manager; one that is away misses it, and its watchdog draws the conclusion."""
    address = os.environ.get(NOTIFY_SOCKET, "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, contextlib.suppress(OSError):
        sender.settimeout(0)
        # An abstract name is written with "@" and begins with a null byte (unix(7)).
        sender.sendto("\n".join(states).encode(), address.replace("@", "\0", 1))


def set_up_log(level: int, process: str = "") -> None:
    """Log to standard error, in the journal's way where that is the journal.

    Args:
        level: the least that is logged.
        process: named in each line where several share one stream.
    """
    handler = logging.StreamHandler(sys.stderr)
    name = f"{process} " if process else ""
    if is_journal():
        handler.setFormatter(JournalFormatter(f"{name}%(message)s"))
    else:
        handler.setFormatter(logging.Formatter(f"%(asctime)s {name}%(levelname)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])


def is_journal() -> bool:
    """Whether standard error goes to the journal (systemd.exec(5), ``$JOURNAL_STREAM``)."""
    stream = os.environ.get("JOURNAL_STREAM", "")
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"


class JournalFormatter(logging.Formatter):
    """Puts the priority before each line, a traceback's too.

    >>> record = logging.LogRecord("x", logging.WARNING, "", 0, "first" + chr(10) + "second", None, None)
    >>> JournalFormatter("%(message)s").format(record).split(chr(10))
    ['<4>first', '<4>second']
    """

    def format(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter``."""
        priority = next(number for level, number in _PRIORITIES if record.levelno >= level)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())
