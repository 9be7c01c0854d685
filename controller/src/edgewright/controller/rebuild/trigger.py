"""What asks for a rebuild, and who."""

from enum import StrEnum

import msgspec


class Trigger(StrEnum):
    """What asks for a rebuild; a row's ``trigger``."""

    HARM = "harm"
    SCHEDULE = "schedule"
    DATA = "data"
    PERSON = "person"
    API = "api"
    RECIPE = "recipe"


class Asked(msgspec.Struct, frozen=True):
    """Who asks for a rebuild, and why.

    Attributes:
        trigger: what asks.
        asked_by: who asks; empty where nobody does.
        alarm: the alarm that asks, 0 for none.
        again: the alarm has had a rebuild that led nowhere, and asks for another one.
        from_version: version to start from; 0 for the one that most devices run.
    """

    trigger: Trigger
    asked_by: str = ""
    alarm: int = 0
    again: bool = False
    from_version: int = 0
