"""``edgewright init``: look at a model, and write a first model.toml for it."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from edgewright.controller.cli.output import console
from edgewright.controller.errors import ModelTomlError, NotAModelError
from edgewright.controller.model_toml import FILE_NAME


def init(
    model: Annotated[
        Path, typer.Argument(help="Model file: .onnx or .tflite; .keras or .pt2 by a toolchain.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for model.toml and a copy of the model; else beside the model."),
    ] = None,
    tensors: Annotated[
        bool,
        typer.Option("--tensors", help="Describe it by its tensors, even if it looks like one for pictures."),
    ] = False,
) -> None:
    """Look at a model and write a first model.toml: what was found, and what you have to check."""
    # Imported here: arrays and runtimes are nothing that other commands should load.
    from edgewright.controller.compiler.sources.looking import look
    from edgewright.controller.compiler.sources.writing import to_do, write_proposal

    folder = out or model.parent
    if not model.is_file():
        raise NotAModelError(f"There is no file {model}.")
    if (folder / FILE_NAME).exists():
        raise ModelTomlError(f"{folder / FILE_NAME} is there already; name another folder with --out.")
    proposal = look(model)
    text = write_proposal(proposal, model.name, tensors=tensors)
    _write(folder, model, text)
    said = console()
    spec, picture = proposal.spec, None if tensors else proposal.picture
    what = "one picture in, one row of classes out" if picture else "tensors"
    said.print(f"{spec.model.name}: {what}.", soft_wrap=True)
    for part in spec.inputs:
        kind = "" if part.kind == "signal" else f", {part.kind}"
        said.print(f"  {part.name}: {part.dtype} {list(part.shape)}{kind}", soft_wrap=True)
    said.print(f"{folder / FILE_NAME} is written. Check:", soft_wrap=True)
    for sentence in to_do(proposal, tensors=tensors):
        said.print(f"  {sentence}", soft_wrap=True)
    push = "edgewright push" if picture else "edgewright compile"
    said.print(f"Then: {push} {folder}", soft_wrap=True)


def _write(folder: Path, model: Path, text: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / model.name).exists():
            shutil.copyfile(model, folder / model.name)
        (folder / FILE_NAME).write_text(text)
    except OSError as error:
        raise ModelTomlError(f"{folder / FILE_NAME} cannot be written: {error.strerror}.") from error
