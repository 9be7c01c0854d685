"""Does a device's hello fit what it has said before? Pure decisions over numbers.

A device counts its connections, and what it has verified only grows: assignment, roots, timestamp. All of it
lies on its disk. So a hello that goes back tells that the disk was restored from an older copy, or that two
machines share one identity; a person has to find out which. What is decided here names the likelier one:

* ``restored``: a number fell.
* ``retargeted``: it says that it is other hardware than what enrolled. It may be the wrong machine, or
  one that wants other models than it was given; a new enrolment makes it right.
* ``clone``: two lines of numbers alternate. A second machine with the same disk counts on its own.

A hello is repeated within one connection, then with the same counter and the same time. A broker may deliver
one of an earlier connection late: its counter is smaller, and so is its time. It is neither.
"""

from enum import StrEnum
from typing import Final

import msgspec

from edgewright.wire.messages import Hello


class Name(StrEnum):
    """What a device is suspected of, the worst last."""

    RETARGETED = "retargeted"
    RESTORED = "restored"
    CLONE = "clone"
    EQUIVOCATION = "equivocation"

    def outweighs(self, sentence: str) -> bool:
        """Whether this is worse than what a stored sentence names.

        >>> Name.CLONE.outweighs("restored: it went back."), Name.CLONE.outweighs("clone: two of them.")
        (True, False)
        """
        order = list(Name)
        standing = [name for name in order if sentence.startswith(name)]
        return not standing or order.index(self) > order.index(standing[0])


class Known(msgspec.Struct, frozen=True):
    """What a device said before; 0 and empty where it said nothing yet.

    Attributes:
        counter, sent_at: of its newest hello.
        stream: its outbox, as of that hello.
        suspicion: what it is suspected of already.
    """

    counter: int = 0
    sent_at: float = 0.0
    assignment_version: int = 0
    seen_root: int = 0
    seen_timestamp: int = 0
    director_root: int = 0
    stream: str = ""
    suspicion: str = ""


class Suspicion(msgspec.Struct, frozen=True):
    """A name and what speaks for it, in words that follow on "because"."""

    name: Name
    because: str

    @property
    def sentence(self) -> str:
        """What is stored and shown: the name, then the reason."""
        return f"{self.name}: {self.because}."


_NEW_KEYS: Final = {"seen_timestamp": "seen_root", "assignment_version": "director_root"}
"""Numbers that begin again under new keys, and the root that brings such keys and has grown then."""

_GROWING: Final = {
    "assignment_version": "assignment",
    "seen_root": "image root",
    "seen_timestamp": "image timestamp",
    "director_root": "director root",
}


def is_late(known: Known, hello: Hello) -> bool:
    """Whether a hello is one of an earlier connection, delivered late.

    >>> hello = Hello(device="r", agent_version="", target="", tags={}, runtime="", sent_at=5.0, counter=2)
    >>> is_late(Known(counter=3, sent_at=9.0), hello), is_late(Known(counter=3, sent_at=4.0), hello)
    (True, False)
    """
    return hello.counter < known.counter and hello.sent_at < known.sent_at


def suspect(known: Known, hello: Hello, *, stream_is_old: bool) -> Suspicion | None:
    """What a hello makes its device suspected of; ``is_late`` was asked before.

    Args:
        known: what it said before.
        hello: what it says now.
        stream_is_old: whether it goes back to a stream that it had left for another.
    """
    if stream_is_old:
        return Suspicion(Name.CLONE, "it goes back to an outbox that another one had replaced")
    if known.counter and hello.counter == known.counter and hello.sent_at != known.sent_at:
        return Suspicion(Name.CLONE, f"two connections carry the number {hello.counter}")
    if hello.counter < known.counter:
        again = known.suspicion.startswith(Name.RESTORED)
        name = Name.CLONE if again else Name.RESTORED
        fell = f"its connections were counted to {known.counter}, and now to {hello.counter}"
        return Suspicion(name, f"{fell}, not for the first time" if again else fell)
    for field, word in _GROWING.items():
        before, now = getattr(known, field), getattr(hello, field)
        root = _NEW_KEYS.get(field)
        restarted = root is not None and getattr(hello, root) > getattr(known, root)
        if now < before and not restarted:
            return Suspicion(Name.RESTORED, f"it had seen {word} {before}, and now knows {now}")
    return None


def other_content(stream: str, seq: int) -> Suspicion:
    """The suspicion of a device that sends a number again with other content."""
    return Suspicion(Name.CLONE, f"number {seq} of its outbox {stream[:8]} came twice with different content")


def other_target(enrolled: str, said: str) -> Suspicion:
    """The suspicion of a device that says it is other hardware; what it enrolled as goes on to count."""
    return Suspicion(Name.RETARGETED, f"it enrolled as {enrolled}, and says that it is {said[:64]}")


def not_issued(hello: Hello) -> Suspicion:
    """The suspicion where a device acts on a document that this controller has not issued."""
    return Suspicion(
        Name.EQUIVOCATION,
        f"it acts on an assignment {hello.assignment_version} that this controller has not issued",
    )
