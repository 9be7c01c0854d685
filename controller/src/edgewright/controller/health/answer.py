"""One answer, and all seven: what pages, the API and the command show."""

from enum import StrEnum
from typing import Final

import msgspec

from edgewright.controller.health.facts import ClassShare, Signal
from edgewright.controller.web.words import Tone


class Key(StrEnum):
    """The seven questions by name, in their order."""

    PERFORMANCE = "performance"
    BOUNDS = "bounds"
    CHANGES = "changes"
    DEVICES = "devices"
    DONE = "done"
    COST = "cost"
    NEXT = "next"


QUESTIONS: Final[dict[Key, str]] = {
    Key.PERFORMANCE: "Does this version perform as it did in testing?",
    Key.BOUNDS: "Is its output within the expected bounds?",
    Key.CHANGES: "What changed since it was trained, where, and since when?",
    Key.DEVICES: "Which devices differ from the others?",
    Key.DONE: "What was done?",
    Key.COST: "What does it cost if nothing is done?",
    Key.NEXT: "What is the next step?",
}


class Detail(msgspec.Struct, frozen=True):
    """One line below an answer; ``at`` is 0 and ``href`` empty where there is none."""

    sentence: str
    tone: Tone = "quiet"
    at: float = 0.0
    href: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one question.

    Attributes:
        key, question: which.
        sentence: the answer, with its numbers.
        tone: how it stands; quiet where nothing can be said.
        known: whether there is an answer; if not, the sentence says why not and what would make it known.
        certainty: how sure the answer is, and from what; empty where it is no matter of evidence.
        numbers: what the sentence says, for programs.
        since: since when, 0 where that is not known.
        details: lines below it.
        command, href, link: of the next step; the last is what a link to ``href`` reads.
    """

    key: Key
    question: str
    sentence: str
    tone: Tone = "quiet"
    known: bool = True
    certainty: str = ""
    numbers: dict[str, float] = {}
    since: float = 0.0
    details: tuple[Detail, ...] = ()
    command: str = ""
    href: str = ""
    link: str = ""


class Dot(msgspec.Struct, frozen=True):
    """One device in the picture of devices; ``differs`` where it stands out."""

    device: str
    rate: float | None
    low: float
    high: float
    labelled: int
    confidence: float | None
    differs: bool


class Witness(msgspec.Struct, frozen=True):
    """One estimate of the error rate, from one kind of evidence."""

    name: str
    low: float
    estimate: float
    high: float


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The seven answers about one version of a model.

    Attributes:
        status: ``harm`` where evidence shows it, ``healthy`` where it shows the opposite, else ``unknown``.
        sentence: the whole in one sentence.
        answers: one for each question, in the order of ``QUESTIONS``.
        witnesses, signals, classes, dots: what the pictures show.
    """

    model: str
    version: int
    at: float
    status: str
    sentence: str
    tone: Tone
    answers: tuple[Answer, ...]
    witnesses: tuple[Witness, ...] = ()
    signals: tuple[Signal, ...] = ()
    classes: tuple[ClassShare, ...] = ()
    dots: tuple[Dot, ...] = ()
    windows: int = 0
    promised: float | None = None
    harm_rate: float | None = None

    def answer(self, key: Key) -> Answer:
        """The answer to one of the questions."""
        return next(answer for answer in self.answers if answer.key == key)
