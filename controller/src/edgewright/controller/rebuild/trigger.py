"""What asks for a rebuild."""

from enum import StrEnum


class Trigger(StrEnum):
    """What asks for a rebuild; a row's ``trigger``."""

    HARM = "harm"
    SCHEDULE = "schedule"
    DATA = "data"
    PERSON = "person"
    API = "api"
    RECIPE = "recipe"
