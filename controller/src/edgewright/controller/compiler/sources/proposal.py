"""A first declaration of a model as values; ``proposals`` makes it, and nothing here needs a runtime."""

from dataclasses import dataclass
from typing import Final, Literal

from edgewright.controller.model_tensors import TensorSpec

DRAWN: Final = "The calibration and holdout are drawn, not recorded: they show parity, not accuracy."


@dataclass(frozen=True)
class Picture:
    """What makes a model one for the line: one picture in, one row of numbers out.

    Attributes:
        layout: order of the input's axes.
        channels, height, width: of the picture.
        output: the row's name.
        classes: how many numbers it has.
        probabilities: whether the row comes out of a Softmax.
    """

    layout: Literal["NCHW", "NHWC"]
    channels: int
    height: int
    width: int
    output: str
    classes: int
    probabilities: bool


@dataclass(frozen=True)
class Proposal:
    """A first declaration of a model.

    Attributes:
        spec: as a tensor model, with synthetic data; it compiles as it is.
        guesses: sentences about what a person has to check.
        picture: set where the model looks like one for the line.
    """

    spec: TensorSpec
    guesses: tuple[str, ...]
    picture: Picture | None
