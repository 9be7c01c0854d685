"""The bill of materials, against CycloneDX's own schema and as what it tells."""

import dataclasses
from importlib.resources import files
from typing import Any

import msgspec
from jsonschema import Draft7Validator  # type: ignore[import-untyped]  # its stubs are one more package
from referencing import Registry, Resource

from edgewright.controller.compiler.facts import CompileFacts, DataFacts
from edgewright.controller.compiler.sbom import SPEC_VERSION, make_sbom
from tests.controller.compile_facts import NUMBERS, compile_facts, target_facts


def _read(facts: CompileFacts) -> dict[str, Any]:
    return msgspec.json.decode(make_sbom(facts), type=dict[str, Any])


def _schema(name: str) -> Any:
    return msgspec.json.decode(
        files("cyclonedx.schema._res").joinpath(f"{name}.SNAPSHOT.schema.json").read_bytes()
    )


def _validator() -> Draft7Validator:
    resources = [
        (_schema(name)["$id"], Resource.from_contents(_schema(name)))
        for name in ("spdx", "jsf-0.82", f"bom-{SPEC_VERSION}")
    ]
    return Draft7Validator(_schema(f"bom-{SPEC_VERSION}"), registry=Registry().with_resources(resources))


def _components(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {item["bom-ref"]: item for item in document["components"]}


def test_document_is_valid_by_the_official_schema() -> None:
    """CycloneDX's schema takes bills of four kinds of model, and refuses a spoilt one."""
    validator = _validator()
    smallest = compile_facts(
        version=0, parent=0, labels=(), data=(), preprocessing=None, targets=(target_facts(),), notes=()
    )
    drawn = compile_facts(data=(DataFacts("holdout", "drawn", "", 32, synthetic=True),))
    for facts in (compile_facts(), smallest, drawn, compile_facts(confidential=True)):
        assert [error.message for error in validator.iter_errors(_read(facts))] == []
    spoilt = _read(compile_facts())
    spoilt["metadata"]["component"]["modelCard"]["modelParameters"]["datasets"] = [{"digest": "x"}]
    assert list(validator.iter_errors(spoilt))


def test_same_facts_give_the_same_bytes_and_others_another_serial_number() -> None:
    """The document has no time and no chance in it, and its serial number follows from its content."""
    first = make_sbom(compile_facts())
    assert first == make_sbom(compile_facts())
    assert b"timestamp" not in first
    other = make_sbom(compile_facts(targets=(target_facts(sha256="f" * 64),)))
    serials = {msgspec.json.decode(document)["serialNumber"] for document in (first, other)}
    assert len(serials) == 2


def test_measured_times_and_memory_change_nothing() -> None:
    """Two runs of one build that differ in speed and memory alone have one bill of materials."""
    slower = {
        **NUMBERS,
        "latency_ratio": 0.9,
        "fp32_latency_us": 500.0,
        "latency_us": 450.0,
        "memory_mb": 9.0,
    }
    runs = [compile_facts(targets=(target_facts(numbers=numbers),)) for numbers in (NUMBERS, slower)]
    assert make_sbom(runs[0]) == make_sbom(runs[1])
    worse = compile_facts(targets=(target_facts(numbers={**NUMBERS, "logit_error": 0.09}),))
    assert make_sbom(worse) != make_sbom(runs[0])


def test_everything_that_went_in_is_listed_by_digest_or_version() -> None:
    """Artifacts and data carry SHA-256, runtimes their range, tools their version, parts their licence."""
    document = _read(compile_facts())
    found = _components(document)
    artifact = found["artifact:x86_64-ort-cpu"]
    assert artifact["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert {"name": "edgewright:length", "value": "246000"} in artifact["properties"]
    assert found["data:calibration:data/calibration.npz"]["hashes"][0]["content"] == "1" * 64
    litert = found["runtime:litert:XNNPACK:2.1"]
    assert litert["version"] == "2.1.2"
    assert {"name": "edgewright:versions", "value": "vers:pypi/>=2.1|<3.0"} in litert["properties"]
    assert found["tool:onnx2tf@2.6.9"]["purl"] == "pkg:pypi/onnx2tf@2.6.9"
    assert "purl" not in found["tool:python@3.12.1"]
    assert found["part:painted frames"]["licenses"] == [{"expression": "CC-BY-4.0"}]
    assert "licenses" not in found["part:backbone"]


def test_model_has_licence_parent_and_card() -> None:
    """The model's own entry says its licence, the version it came from, its data and what is not known."""
    model = _read(compile_facts())["metadata"]["component"]
    assert (model["type"], model["version"]) == ("machine-learning-model", "3")
    assert model["licenses"] == [{"expression": "Apache-2.0"}]
    assert model["pedigree"]["ancestors"][0]["version"] == "2"
    card = model["modelCard"]
    assert {"ref": "data:holdout:data/holdout.npz"} in card["modelParameters"]["datasets"]
    assert {"type": "agreement", "value": "0.9925", "slice": "x86_64-ort-cpu"} in (
        card["quantitativeAnalysis"]["performanceMetrics"]
    )
    assert any("aarch64-litert" in limit for limit in card["considerations"]["technicalLimitations"])
    without = _read(dataclasses.replace(compile_facts(), parent=0))
    assert "pedigree" not in without["metadata"]["component"]


def test_references_lead_somewhere() -> None:
    """Every dependency and every data set of the card names an entry of the document."""
    document = _read(compile_facts())
    known = {*_components(document), document["metadata"]["component"]["bom-ref"]}
    used = {ref for item in document["dependencies"] for ref in (item["ref"], *item.get("dependsOn", ()))}
    card = document["metadata"]["component"]["modelCard"]
    used |= {item["ref"] for item in card["modelParameters"]["datasets"]}
    assert used <= known
