"""Inputs and outputs as a model's file declares them: some sizes may still be open."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgewright.controller.compiler.subject import Port
from edgewright.controller.errors import InputShapeError, OpenShapeError
from edgewright.controller.model_tensors import InputPart, OutputTensorPart

Size = int | str
"""A number, or the name that the file gives to an open size; empty where it gives none."""


@dataclass(frozen=True)
class OpenPort:
    """An input or output of a file.

    Attributes:
        name: as in the file.
        dtype: NumPy's name of the element type.
        shape: sizes; None where not even their number is known.
        scale, zero_point: of a quantised tensor, ``real = scale * (stored - zero_point)``; scale 0 for none.
    """

    name: str
    dtype: str
    shape: tuple[Size, ...] | None
    scale: float = 0.0
    zero_point: int = 0

    @property
    def is_open(self) -> bool:
        """Whether a size is not known."""
        return self.shape is None or any(isinstance(size, str) for size in self.shape)


OpenPorts = tuple[tuple[OpenPort, ...], tuple[OpenPort, ...]]
"""Inputs and outputs of a file."""


def match_inputs(found: Sequence[OpenPort], declared: Sequence[InputPart]) -> tuple[Port, ...]:
    """The inputs with the sizes that model.toml gives them, in the file's order.

    Raises:
        InputShapeError: names, element types or sizes contradict each other.
        OpenShapeError: a size is open, and model.toml does not have the input.
    """
    parts = {part.name: part for part in declared}
    names = [port.name for port in found]
    foreign = sorted(set(parts) - set(names))
    if foreign:
        raise InputShapeError(f"The model has no input {foreign[0]!r}; it has {_quoted(names)}.")
    return tuple(_matched("input", port, parts.get(port.name)) for port in found)


def match_outputs(found: Sequence[Port], declared: Sequence[OutputTensorPart], decision: str) -> None:
    """Check what model.toml says about outputs.

    Raises:
        InputShapeError: the model has others.
    """
    ports = {port.name: port for port in found}
    for name in (*(part.name for part in declared), *((decision,) if decision else ())):
        if name not in ports:
            raise InputShapeError(f"The model has no output {name!r}; it has {_quoted(ports)}.")
    for part in declared:
        port = ports[part.name]
        _matched("output", OpenPort(port.name, port.dtype, port.shape), part)


def _matched(what: str, port: OpenPort, part: InputPart | OutputTensorPart | None) -> Port:
    if part is None:
        return Port(port.name, port.dtype, fixed_shape(port))
    if part.dtype != port.dtype:
        raise InputShapeError(
            f"The model's {what} {port.name!r} has the type {port.dtype}, not {part.dtype}."
        )
    if port.shape is None:
        return Port(port.name, port.dtype, part.shape)
    fits = len(port.shape) == len(part.shape) and all(
        isinstance(own, str) or own == size for own, size in zip(port.shape, part.shape, strict=True)
    )
    if not fits:
        shape = ", ".join("any" if isinstance(size, str) else str(size) for size in port.shape)
        raise InputShapeError(
            f"The model's {what} {port.name!r} has the shape [{shape}], not {list(part.shape)}."
        )
    return Port(port.name, port.dtype, part.shape)


def fixed_shape(port: OpenPort) -> tuple[int, ...]:
    """The shape of a port whose sizes are all known.

    Raises:
        OpenShapeError: one is not.
    """
    if port.shape is None:
        raise OpenShapeError(f"The model does not say how many axes its input {port.name!r} has.")
    fixed = tuple(size for size in port.shape if isinstance(size, int))
    if len(fixed) != len(port.shape):
        names = ", ".join(_open_names(port))
        raise OpenShapeError(f"The model's input {port.name!r} has an open size ({names}).")
    return fixed


def _open_names(port: OpenPort) -> Iterator[str]:
    for axis, size in enumerate(port.shape or ()):
        if isinstance(size, str):
            yield f"axis {axis}, {size}" if size else f"axis {axis}"


def _quoted(names: Sequence[str] | dict[str, Port]) -> str:
    return ", ".join(repr(name) for name in names)
