"""Versions as people name them: ``MODEL@3``, ``MODEL@v3``, or by an alias as in ``MODEL@champion``."""

import re

from edgewright.controller.cli.client import Client
from edgewright.controller.errors import InvalidRequestError


def read_name(text: str) -> tuple[str, str]:
    """A model and the word after the ``@``: a number or an alias.

    Raises:
        InvalidRequestError: it is written in another way.

    >>> read_name("garment-packing@v3"), read_name("garment-packing@champion")
    (('garment-packing', '3'), ('garment-packing', 'champion'))
    """
    found = re.fullmatch(r"([a-z0-9-]{1,64})@(?:v?(\d{1,9})|([a-z][a-z0-9-]{0,63}))", text)
    if found is None:
        raise InvalidRequestError(
            f"{text[:80]!r} is no MODEL@VERSION, such as garment-packing@3 or garment-packing@champion."
        )
    return found[1], found[2] or found[3]


def find_version(client: Client, text: str) -> tuple[str, int]:
    """The model and the number of the version that is meant now.

    Raises:
        InvalidRequestError: it is written in another way.
        RefusedError: the model has no such alias.
    """
    model, word = read_name(text)
    if word.isdecimal():
        return model, int(word)
    return model, int(client.get(f"/models/{model}/aliases/{word}")["version"])
