"""The licence gate, over what people and exporters write."""

from pathlib import Path

import onnx
import pytest

from edgewright.controller.compiler.carried import carried_licence
from edgewright.controller.compiler.licences import check_licence, read_licences
from edgewright.controller.errors import LicenceRefusedError, ModelTomlError
from edgewright.controller.model_toml import LicencePart
from tests.controller.small_model import LABELS, fitted_network

STRICT = LicencePart()


def test_text_is_split_into_model_and_parts() -> None:
    """The first clause is the model's own licence, and each other names a part and the part's."""
    found = read_licences("Apache-2.0; trained on Fashion-MNIST, MIT; backbone, bsd-3-clause", STRICT)
    assert [(one.part, one.expression) for one in found] == [
        ("the model", "Apache-2.0"),
        ("Fashion-MNIST", "MIT"),
        ("backbone", "BSD-3-Clause"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Apache-2.0",
        "mit",
        "GPL-3.0-only OR MIT",
        "(MIT OR AGPL-3.0-only) AND BSD-2-Clause",
        "Apache-2.0 WITH LLVM-exception",
        "Apache-2.0; trained on Fashion-MNIST, MIT",
        "Apache-2.0+",
        "MIT License",
        "MIT  licence, <https://example.com/MIT-or-not>.",
    ],
)
def test_permissive_licences_pass(text: str) -> None:
    """What can be used under permissive licences alone passes without a note."""
    assert check_licence(text, STRICT) == ()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("AGPL-3.0-only", "the model is AGPL-3.0-only"),
        ("MIT AND GPL-3.0-only", "the model is MIT AND GPL-3.0-only"),
        ("MIT AND (GPL-3.0-only OR AGPL-3.0-only)", "the model is"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "the model is"),
        ("MIT; trained on faces, CC-BY-NC-4.0", "faces is CC-BY-NC-4.0"),
        ("MIT; trained on faces", "faces is not stated"),
        ("", "the model is not stated"),
        ("unknown", "the model is not stated"),
        ("free for research", "'free for research', which is no SPDX expression"),
        ("LicenseRef-Acme", "the model is LicenseRef-Acme"),
        ("MIT License AND GPL-3.0-only", "'MIT License AND GPL-3.0-only', which is no SPDX expression"),
        ("MIT license for the code, CC-BY-NC-4.0 for the weights", "which is no SPDX expression"),
        ("MIT License (https://example.com/a) GPL-3.0-only", "which is no SPDX expression"),
        ("MIT\nlicense CC-BY-NC-4.0", "which is no SPDX expression"),
    ],
)
def test_other_licences_are_refused_by_the_part(text: str, named: str) -> None:
    """What is not allowed or not known is refused, and the sentence names whose licence it is."""
    with pytest.raises(LicenceRefusedError) as refused:
        check_licence(text, STRICT)
    assert named in refused.value.sentence
    assert refused.value.number == 98


def test_policy_allows_and_lets_unknown_ones_through_with_a_note() -> None:
    """A folder's own list replaces the default, and unknown licences become notes where it says so."""
    own = LicencePart(allow=("LicenseRef-Acme",), unknown="warn")
    assert check_licence("LicenseRef-Acme", own) == ()
    assert check_licence("LicenseRef-Acme; trained on faces", own) == ("The licence of faces is not stated.",)
    with pytest.raises(LicenceRefusedError):
        check_licence("MIT", own)


def test_parts_of_the_policy_are_judged_too() -> None:
    """A data set that [licence] parts names is held to the same list."""
    with pytest.raises(LicenceRefusedError, match=r"data/faces\.npz is CC-BY-NC-SA-4\.0"):
        check_licence("MIT", LicencePart(parts={"data/faces.npz": "CC-BY-NC-SA-4.0"}))


@pytest.mark.parametrize("entry", ["permissive", "MIT OR Apache-2.0", ""])
def test_wrong_entry_of_the_list_is_a_mistake_in_model_toml(entry: str) -> None:
    """A list that holds something else than SPDX identifiers is refused, not read as nothing."""
    with pytest.raises(ModelTomlError, match=r"\[licence\] allow"):
        check_licence("MIT", LicencePart(allow=(entry,)))


def test_licence_in_a_foreign_files_metadata_counts(tmp_path: Path) -> None:
    """What an exporter wrote into an ONNX file is read from it, and judged beside what model.toml says."""
    model = onnx.load_model_from_string(fitted_network(LABELS))
    model.metadata_props.add(key="License", value="AGPL-3.0 License (https://example.com/license)")
    onnx.save(model, tmp_path / "small.onnx")
    with pytest.raises(LicenceRefusedError, match=r"its own metadata, is AGPL-3\.0, which is not allowed"):
        check_licence("MIT", STRICT, carried_licence(tmp_path / "small.onnx"))


def test_what_is_no_onnx_file_carries_nothing(tmp_path: Path) -> None:
    """A file of another kind, a broken one and a missing one say nothing of a licence and raise nothing."""
    (tmp_path / "a.onnx").write_bytes(b"no model")
    (tmp_path / "a.tflite").write_bytes(b"TFL3")
    assert [carried_licence(tmp_path / name) for name in ("a.onnx", "a.tflite", "b.onnx")] == ["", "", ""]


def test_metadata_that_says_something_else_is_noted() -> None:
    """Two allowed licences that differ pass with a note that names both."""
    (note,) = check_licence("MIT", STRICT, "Apache License 2.0")
    assert note == "The model's file says Apache-2.0 in its metadata, model.toml says MIT."
