"""The licence gate in a build: what a model's file carries counts, and so for what is known from before."""

from pathlib import Path

import msgspec
import onnx
import pytest

from edgewright.controller import errors
from edgewright.controller.compiler.build import check_folder
from edgewright.controller.compiler.known import known_check
from edgewright.controller.compiler.protocol import CheckRequest
from edgewright.controller.compiler.worker import run_check
from edgewright.controller.errors import LicenceRefusedError
from edgewright.controller.model_toml import PERMISSIVE, LicencePart, write_model
from tests.controller.small_model import spec, write_folder


def _carrying(folder: Path, licence: str) -> Path:
    """A model folder whose ONNX file has a licence in its metadata, as exporters write it."""
    path = write_folder(folder) / "small.onnx"
    model = onnx.load(path)
    model.metadata_props.add(key="License", value=licence)
    onnx.save(model, path)
    return folder


def test_exporters_licence_refuses_the_model(tmp_path: Path) -> None:
    """A model whose exporter wrote AGPL into the file is refused although model.toml says Apache-2.0."""
    folder = _carrying(tmp_path / "model", "AGPL-3.0 License (https://example.com/license)")
    with pytest.raises(LicenceRefusedError, match=r"its own metadata, is AGPL-3\.0, which is not allowed"):
        check_folder(CheckRequest(str(folder)))
    allowing = msgspec.structs.replace(spec(), licence=LicencePart(allow=(*PERMISSIVE, "AGPL-3.0")))
    (folder / "model.toml").write_bytes(write_model(allowing))
    assert check_folder(CheckRequest(str(folder))).model == "small"


def test_a_remembered_model_is_held_to_the_present_list(tmp_path: Path) -> None:
    """What the cache knows passes no gate by being known: a list without its licence refuses it again."""
    folder = _carrying(tmp_path / "model", "MIT License")
    request = CheckRequest(str(folder), str(tmp_path / "cache"))
    assert check_folder(request).model == "small"
    assert known_check(request)
    stricter = msgspec.structs.replace(spec(), licence=LicencePart(allow=("Apache-2.0",)))
    (folder / "model.toml").write_bytes(write_model(stricter))
    assert known_check(request) is None
    with pytest.raises(LicenceRefusedError, match="is MIT"):
        check_folder(request)


def test_refusal_crosses_the_process_border(tmp_path: Path) -> None:
    """Whoever pushes reads the licence's own number and sentence, not that the build ended."""
    folder = _carrying(tmp_path / "model", "GPL-3.0-only")
    with pytest.raises(LicenceRefusedError, match=r"GPL-3\.0-only, which is not allowed"):
        run_check(CheckRequest(str(folder)))


def test_every_error_about_a_model_crosses_it() -> None:
    """An error that the compiler can end with comes back as its own class; a foreign number as another."""
    for kind in errors.ModelError.__subclasses__():
        assert type(errors.told_by_child(kind.number, "Why.", errors.GateFailedError)) is kind
    assert type(errors.told_by_child(12345, "Why.", errors.GateFailedError)) is errors.GateFailedError
