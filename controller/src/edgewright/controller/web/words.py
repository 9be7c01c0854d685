"""Plain words and numbers for people: states, kinds of events, ages, rates, sizes.

Every state and kind has one word and one tone here. Tones are the page's only colour language: ``quiet``
(nothing to see), ``move`` (something is under way), ``good``, ``warn``, ``bad``.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple

from edgewright.wire.deployment import State

Tone = Literal["quiet", "move", "good", "warn", "bad"]

TOKEN_NOTICE_S: Final = 14 * 86400.0
"""So long before its end a token is pointed out."""

NONE: Final = "–"
"""Stands where there is no value."""


class Word(NamedTuple):
    """A word for people and its tone; ``share`` is how far a deployment has come, from 0 to 1."""

    text: str
    tone: Tone
    share: float = 0.0


DEPLOYMENTS: Final[dict[str, Word]] = {
    "": Word("waiting", "quiet", 0.0),
    State.ASSIGNED: Word("assigned", "move", 0.1),
    State.FETCHING: Word("fetching", "move", 0.25),
    State.STAGED: Word("fetched", "move", 0.4),
    State.QUALIFYING: Word("testing itself", "move", 0.55),
    State.SHADOWING: Word("in shadow", "move", 0.7),
    State.WAITING_SAFE: Word("waiting to swap", "move", 0.8),
    State.PROBATION: Word("on probation", "move", 0.9),
    State.COMMITTED: Word("running", "good", 1.0),
    State.REFUSED: Word("refused", "bad", 1.0),
    State.FAILED: Word("failed", "bad", 1.0),
    State.ROLLED_BACK: Word("rolled back", "bad", 1.0),
    State.SUPERSEDED: Word("superseded", "quiet", 1.0),
    State.STOPPED: Word("stopped", "quiet", 1.0),
}

ROLLOUTS: Final[dict[str, Word]] = {
    "running": Word("in progress", "move"),
    "paused": Word("paused", "warn"),
    "finished": Word("finished", "good"),
    "stopped": Word("stopped", "bad"),
}

FITS: Final[dict[str, Word]] = {
    "yes": Word("yes", "good"),
    "no": Word("no", "bad"),
    "not known": Word("not known", "quiet"),
}
"""Whether a device is what its target asks for."""

VERSIONS: Final[dict[str, Word]] = {
    "building": Word("building", "move"),
    "signing": Word("waiting for signatures", "warn"),
    "ready": Word("ready", "good"),
    "failed": Word("failed", "bad"),
    "withdrawn": Word("withdrawn", "quiet"),
}

HEALTH: Final[dict[str, Word]] = {
    "healthy": Word("does well", "good"),
    "harm": Word("does harm", "bad"),
    "unknown": Word("not known", "quiet"),
}
"""How a version stands, as the seven answers have it."""

EVENTS: Final[dict[str, Tone]] = {
    "device.connected": "good",
    "device.lost": "warn",
    "device.revoked": "bad",
    "device.suspicious": "bad",
    "director.equivocation": "bad",
    "device.trusted": "good",
    "device.unsigned": "bad",
    "version.pushed": "move",
    "version.ready": "good",
    "version.failed": "bad",
    "version.signing": "warn",
    "version.withdrawn": "warn",
    "version.damaged": "bad",
    "alias.moved": "move",
    "alias.kept": "quiet",
    "alias.removed": "quiet",
    "qualification.ordered": "move",
    "qualification.measured": "good",
    "qualification.failed": "warn",
    "qualification.unmeasured": "warn",
    "qualification.expired": "warn",
    "qualification.disputed": "warn",
    "rollout.started": "move",
    "rollout.wave": "move",
    "rollout.finished": "good",
    "rollout.paused": "warn",
    "rollout.stopped": "bad",
    "rollout.left_out": "warn",
    "rollout.taken_back": "good",
    "device.committed": "good",
    "device.failed": "bad",
    "device.refused": "bad",
    "device.rolled-back": "bad",
    "drift.noticed": "warn",
    "evidence.unreadable": "bad",
    "finding.opened": "warn",
    "finding.closed": "good",
    "alarm.raised": "bad",
    "alarm.closed": "good",
    "rebuild.queued": "warn",
    "rebuild.started": "warn",
    "rebuild.candidate": "warn",
    "rebuild.waiting": "warn",
    "rebuild.approved": "good",
    "rebuild.finished": "good",
    "rebuild.failed": "bad",
}


def event_tone(kind: str) -> Tone:
    """The tone of an event; quiet where the kind says nothing."""
    return EVENTS.get(kind, "quiet")


def deployment_word(state: str) -> Word:
    """The word for a deployment's state."""
    return DEPLOYMENTS.get(state, Word(state, "quiet"))


def rollout_word(state: str) -> Word:
    """The word for a rollout's state."""
    return ROLLOUTS.get(state, Word(state, "quiet"))


def version_word(state: str) -> Word:
    """The word for a version's state."""
    return VERSIONS.get(state, Word(state, "quiet"))


def health_word(status: str) -> Word:
    """The word for how a version stands."""
    return HEALTH.get(status, Word(status, "quiet"))


def mark_word(mark: str, by: str = "") -> Word:
    """The word for how a value stands to the first version's; a sign says it without colour.

    >>> mark_word("better", "12 %").text, mark_word("other").text, mark_word("").text
    ('▲ better, 12 %', '≠ other', '')
    """
    words: dict[str, Word] = {
        "same": Word("= same", "quiet"),
        "other": Word("≠ other", "move"),
        "better": Word("▲ better", "good"),
        "worse": Word("▼ worse", "bad"),
    }
    word = words.get(mark, Word("", "quiet"))
    return Word(f"{word.text}, {by}", word.tone) if by else word


def token_word(revoked_at: float, expires: float, now: float) -> Word:
    """The word for a token's state.

    >>> token_word(0.0, 100.0, 50.0).text, token_word(0.0, 100.0, 150.0).text
    ('ends soon', 'too old')
    """
    if revoked_at:
        return Word("revoked", "quiet")
    if expires <= now:
        return Word("too old", "quiet")
    return Word("ends soon", "warn") if expires - now < TOKEN_NOTICE_S else Word("valid", "good")


def outcome_word(outcome: str) -> Word:
    """The word for an audit entry's outcome.

    >>> outcome_word("E107").text
    'refused, E107'
    """
    return Word("done", "quiet") if outcome == "done" else Word(f"refused, {outcome}", "bad")


def audit_sentence(detail: Mapping[str, Any]) -> str:
    """An audit entry's detail in words.

    >>> audit_sentence({"sentence": "Rollout 2 is paused.", "role": "viewer", "models": []})
    'Rollout 2 is paused. role viewer'
    """
    said = [str(detail["sentence"])] if detail.get("sentence") else []
    for name, value in detail.items():
        if name != "sentence" and value not in ("", [], {}, None):
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            said.append(f"{name} {text}")
    return " ".join(said)


def rate(part: float, whole: float) -> float | None:
    """A share, or None where there is nothing to divide by."""
    return part / whole if whole else None


def machine_text(machine: str, cpu: Sequence[str]) -> str:
    """A processor in words.

    >>> machine_text("x86_64", ["avx2", "vnni"]), machine_text("", [])
    ('x86_64 with avx2, vnni', 'not told')
    """
    return (machine + (f" with {', '.join(cpu)}" if cpu else "")) or "not told"


def percent(value: float | None) -> str:
    """A share as a percentage with one decimal.

    >>> percent(0.0142), percent(None), percent(1.0)
    ('1.4 %', '–', '100 %')
    """
    if value is None:
        return NONE
    return "100 %" if value == 1 else f"{value * 100:.1f} %"


def count(value: float) -> str:
    """A whole number with thin groups.

    >>> count(1234567)
    '1\u202f234\u202f567'
    """
    return f"{value:,.0f}".replace(",", "\u202f")


def plural(number: int, noun: str) -> str:
    """A number and its noun.

    >>> plural(1, "robot"), plural(4, "robot")
    ('1 robot', '4 robots')
    """
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"


def size(value: float) -> str:
    """A number of bytes in a unit that keeps it short.

    >>> size(640), size(29_300), size(8_900_000)
    ('640 B', '29 kB', '8.9 MB')
    """
    if value < 1000:
        return f"{value:.0f} B"
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 1000:
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{value / 1000:.1f} TB"


def duration(seconds: float) -> str:
    """A length of time.

    >>> duration(0.42), duration(48), duration(125), duration(7300)
    ('0.4 s', '48 s', '2 min 5 s', '2 h 1 min')
    """
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def age(then: float, now: float) -> str:
    """How long ago, in steps so coarse that a live page does not change every second.

    >>> age(0.0, 9.0), age(100.0, 103.0), age(100.0, 138.0), age(100.0, 250.0), age(100.0, 9000.0)
    ('never', 'now', '30 s ago', '2 min ago', '2 h ago')
    """
    if not then:
        return "never"
    seconds = now - then
    if seconds < 10:
        return "now"
    if seconds < 60:
        return f"{int(seconds // 10 * 10)} s ago"
    if seconds < 3600:
        return f"{int(seconds // 60)} min ago"
    if seconds < 48 * 3600:
        return f"{int(seconds // 3600)} h ago"
    return f"{int(seconds // 86400)} days ago"


def clock(at: float) -> str:
    """The time of day, in the controller's time zone.

    >>> len(clock(0.5))
    8
    """
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%H:%M:%S")


def day(at: float) -> str:
    """Date and time to the minute, in the controller's time zone."""
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%-d %b %Y, %H:%M")


def iso(at: float) -> str:
    """A moment for machines.

    >>> iso(0.0)
    '1970-01-01T00:00:00+00:00'
    """
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
