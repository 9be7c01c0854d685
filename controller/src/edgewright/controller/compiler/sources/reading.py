"""The one way from what an engineer has to a ``Subject``: a model folder of either kind, or a bare file."""

from dataclasses import replace
from pathlib import Path

from edgewright.controller.compiler.sources.images import image_subject
from edgewright.controller.compiler.sources.proposals import propose
from edgewright.controller.compiler.sources.tensors import tensor_subject
from edgewright.controller.compiler.subject import Subject
from edgewright.controller.errors import ModelError, NotAModelError
from edgewright.controller.model_tensors import is_tensor_model, read_tensor_model
from edgewright.controller.model_toml import FILE_NAME, read_model


def read_subject(path: Path) -> Subject:
    """What is compiled of a model folder, of its model.toml, or of a bare model file.

    A bare file is read with the declaration that `edgewright init` would write for a tensor model: sizes
    that run, drawn inputs, the guesses among the notes. The declaration is ``proposals.propose(path).spec``.

    Raises:
        ModelError: the model cannot become artifacts; its number says why.
    """
    if not path.exists():
        raise NotAModelError(f"There is no file or folder {path}.")
    folder = path if path.is_dir() else path.parent
    if path.is_dir() or path.name == FILE_NAME or _names(folder, path):
        if is_tensor_model(folder):
            return tensor_subject(read_tensor_model(folder), folder)
        return image_subject(read_model(folder), folder)
    proposal = propose(path)
    subject = tensor_subject(proposal.spec, folder)
    return replace(subject, notes=(*subject.notes, *proposal.guesses))


def _names(folder: Path, path: Path) -> bool:
    """Whether the model.toml of a folder names this file as its model."""
    if not (folder / FILE_NAME).is_file():
        return False
    try:
        spec = read_tensor_model(folder) if is_tensor_model(folder) else read_model(folder)
    except ModelError:
        return False
    return path.resolve() == (folder / spec.model.file).resolve()
