"""What a person reads of a trouble with the source, at its begin and at its end."""

from edgewright.agent.cell.control import TROUBLES
from edgewright.agent.cell.watch import MAX_PIXELS, Change
from edgewright.agent.settings import SourceSettings

_NUMBERS = {kind("").name: number for number, kind in TROUBLES.items()}


def said(change: Change, place: str, detail: str, settings: SourceSettings) -> tuple[int, str]:
    """Number of the error, and the sentence.

    >>> change = Change("FrozenPicture", begun=False, seconds=42.4, frames=1270)
    >>> said(change, "camera 0", "", SourceSettings())
    (83, 'The picture of camera 0 moves again after 42 s; 1270 frames went to the fallback.')
    """
    sentence = _begun(change, place, detail, settings) if change.begun else _over(change, place)
    return _NUMBERS[change.name], sentence


def _begun(change: Change, place: str, detail: str, settings: SourceSettings) -> str:
    look = change.look
    match change.name:
        case "SourceLost":
            return detail or f"No picture comes from {place}."
        case "DamagedPicture":
            return detail or f"A picture of {place} cannot be decoded."
        case "FrozenPicture":
            return f"{place} has given the same picture {settings.frozen_frames} times."
        case "BlackPicture" if look is not None:
            return (
                f"The picture of {place} is black or of one colour: mean {look.mean:.0f} and deviation "
                f"{look.deviation:.1f} of 255 grey levels."
            )
        case "Resolution" if look is not None:
            measured = f"The picture of {place} measures {look.width} x {look.height}"
            if look.width * look.height > MAX_PIXELS:
                return f"{measured}; a line takes {MAX_PIXELS} pixels at most."
            return f"{measured} where {settings.width or 'any'} x {settings.height or 'any'} is set."
        case _:
            return f"{place}: {change.name}."


def _over(change: Change, place: str) -> str:
    begins = {
        "SourceLost": f"Pictures come from {place} again",
        "DamagedPicture": f"The pictures of {place} can be decoded again",
        "FrozenPicture": f"The picture of {place} moves again",
        "BlackPicture": f"{place} shows a picture again",
        "Resolution": f"The picture of {place} has the right size again",
    }
    cost = f"; {change.frames} frames went to the fallback." if change.frames else "."
    return f"{begins.get(change.name, place)} after {change.seconds:.0f} s{cost}"
