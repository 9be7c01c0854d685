"""What is said of a build: SLSA provenance and a test result, as in-toto statements. Pure functions.

The control plane writes them, outside the process that compiles: it names what it gave in (files by digest,
the parent, a rebuild's dataset), what came out, and how the gates judged it. A statement holds no time and no
latency that the compiler measured, so the same build gives the same bytes, and the manifest can carry its
digest. What devices measured before the release stands in it: they chose by it, so it went into the build.

This is what SLSA calls Build L2: provenance that the build platform makes and signs. It is not L3, because
builds are not isolated from each other or from the machine.

Sources: https://slsa.dev/spec/v1.0/provenance, https://github.com/in-toto/attestation (statement v1,
``spec/predicates/test-result.md`` v0.1).
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version as distribution_version
from typing import Any, Final

import msgspec

from edgewright.controller.compiler.gates import Verdict
from edgewright.controller.compiler.measured import settled
from edgewright.controller.compiler.proof import was_raced
from edgewright.controller.compiler.protocol import Built, DeviceAnswer
from edgewright.wire.canonical import canonical_json
from edgewright.wire.manifest import Manifest

STATEMENT: Final = "https://in-toto.io/Statement/v1"
PROVENANCE: Final = "https://slsa.dev/provenance/v1"
TEST_RESULT: Final = "https://in-toto.io/attestation/test-result/v0.1"
BUILD_TYPE: Final = "urn:edgewright:build:v1"
BUILDER: Final = "urn:edgewright:controller"
COMPILERS: Final = (
    "edgewright-controller",
    "numpy",
    "onnx",
    "onnxruntime",
    "opencv-python-headless",
    "scipy",
)

TOOLCHAIN: Final = "made the artifact"
"""Role of a tool, beside the compilers, that a candidate was made with."""

GATES_LOG, CARD, SBOM = "gates.json", "model-card.md", "sbom.cdx.json"
"""Names of what a build gives beside its artifacts."""

_ARTIFACT, _GOLDEN = "artifact", "golden"


class Material(msgspec.Struct, frozen=True):
    """One thing that went into a build.

    Attributes:
        uri: what it is: ``model:<path>``, ``dataset:...``, ``version:...``.
        sha256: of its bytes.
        role: what it was used as, in words.
        counts: numbers about it, for example of frames.
    """

    uri: str
    sha256: str
    role: str
    counts: dict[str, int] = {}


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the control plane knows of a build beside its result.

    Attributes:
        model, version: what is built.
        source: ``push`` or ``rebuild``.
        parent: version that a rebuild started from, 0 for none.
        model_toml_sha256: of the declaration, gates included.
        materials: files, datasets and the parent's calibration ranges.
        parents: by target, the digest of the parent's manifest.
        parameters: of a rebuild: its number, its rung, its cause.
        gates: the limits that model.toml declares.
        data: digests of the files of data by what they are used for: calibration, holdout, replay.
        confidential: whether model.toml says so.
    """

    model: str
    version: int
    source: str
    parent: int
    model_toml_sha256: str
    materials: tuple[Material, ...]
    parents: dict[str, str]
    parameters: dict[str, Any]
    gates: dict[str, Any]
    data: dict[str, str] = {}
    confidential: bool = False


@cache
def compilers() -> Mapping[str, str]:
    """Versions of the packages that compile, by name; the child process has the same installation."""
    return {name: distribution_version(name) for name in COMPILERS}


def subjects(manifest: Manifest) -> list[dict[str, Any]]:
    """What a statement is about: the two blobs of a manifest, as they are published."""
    stem = f"{manifest.model}-{manifest.version}-{manifest.target}"
    blobs = {_ARTIFACT: manifest.artifact.sha256, _GOLDEN: manifest.golden.sha256}
    return [{"name": f"{stem}-{what}", "digest": {"sha256": sha256}} for what, sha256 in blobs.items()]


def gate_log(verdicts: Sequence[Verdict]) -> bytes:
    """All candidates' verdicts without what differs from run to run: sentences hold a measured latency."""
    return canonical_json(
        [
            {
                "candidate": verdict.name,
                "passed": verdict.passed,
                "length": verdict.length,
                "passed_gates": verdict.passed_gates,
                "failed_gates": verdict.failed_gates,
                "unjudged_gates": verdict.unjudged_gates,
            }
            for verdict in verdicts
        ]
    )


def make_provenance(facts: Facts, built: Built, manifest: Manifest, byproducts: Mapping[str, str]) -> bytes:
    """Canonical bytes of the SLSA provenance of one artifact.

    Args:
        facts: what the control plane knows.
        built: what was made.
        manifest: of the artifact.
        byproducts: digests of what was made beside it, by name; an empty one was not made.
    """
    definition = {
        "buildType": BUILD_TYPE,
        "externalParameters": {
            "model": facts.model,
            "version": facts.version,
            "target": built.target,
            "source": facts.source,
            "parent": facts.parent,
        },
        "internalParameters": {
            "candidate": built.chosen,
            "precision": built.precision,
            "qualification": built.qualification,
            "provenOn": list(built.proven_on),
            "latencyJudged": was_raced(built.numbers),
            "numbers": settled(built.numbers),
            "devices": [_said(answer) for answer in built.answers],
            "data": facts.data,
            "gates": facts.gates,
            "rebuild": facts.parameters,
            "confidential": facts.confidential,
        },
        "resolvedDependencies": [*_materials(facts, built), *_tools(built)],
    }
    details = {
        "builder": {
            "id": BUILDER,
            "version": {"edgewright-controller": compilers()["edgewright-controller"]},
        },
        "metadata": {"invocationId": f"{facts.model}/{facts.version}/{built.target}"},
        "byproducts": [
            {"name": name, "digest": {"sha256": sha256}} for name, sha256 in byproducts.items() if sha256
        ],
    }
    return _statement(manifest, PROVENANCE, {"buildDefinition": definition, "runDetails": details})


def _said(answer: DeviceAnswer) -> dict[str, Any]:
    """A device's answer; the manifest that it was given is not the one that ships, so no digest of it."""
    said: dict[str, Any] = msgspec.to_builtins(answer)
    del said["manifest_sha256"]
    return said


def _materials(facts: Facts, built: Built) -> list[dict[str, Any]]:
    materials: list[dict[str, Any]] = [
        {
            "uri": item.uri,
            "digest": {"sha256": item.sha256},
            "annotations": {"role": item.role, **item.counts},
        }
        for item in facts.materials
    ]
    if sha256 := facts.parents.get(built.target):
        uri = f"version:{facts.model}/{built.target}/{facts.parent}"
        annotations = {"role": "manifest of the parent version"}
        materials.append({"uri": uri, "digest": {"sha256": sha256}, "annotations": annotations})
    return materials


def _tools(built: Built) -> list[dict[str, Any]]:
    """Compilers of the controller's environment, then what else made the artifact, in one of its own."""
    own = [{"uri": f"pkg:pypi/{name}@{version}"} for name, version in compilers().items()]
    others: list[dict[str, Any]] = [
        {"uri": f"pkg:pypi/{name}@{version}", "annotations": {"role": TOOLCHAIN}}
        for name, version in sorted(built.tools.items())
        if compilers().get(name) != version
    ]
    return [*own, *others]


def make_test_result(facts: Facts, built: Built, manifest: Manifest) -> bytes:
    """Canonical bytes of how the gates judged the artifact that ships."""
    verdict = next(verdict for verdict in built.verdicts if verdict.name == built.chosen)
    result = "FAILED" if verdict.failed_gates or not verdict.passed else "PASSED"
    if result == "PASSED" and verdict.unjudged_gates:
        result = "WARNED"
    predicate = {
        "result": result,
        "configuration": [{"name": "model.toml", "digest": {"sha256": facts.model_toml_sha256}}],
        "passedTests": list(verdict.passed_gates),
        "warnedTests": list(verdict.unjudged_gates),
        "failedTests": list(verdict.failed_gates),
    }
    return _statement(manifest, TEST_RESULT, predicate)


def papers_in(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Model card and bill of materials that a provenance statement names: file name to SHA-256."""
    items = provenance["predicate"]["runDetails"].get("byproducts", [])
    return {item["name"]: item["digest"]["sha256"] for item in items if item["name"] in (CARD, SBOM)}


def _statement(manifest: Manifest, predicate_type: str, predicate: Mapping[str, Any]) -> bytes:
    return canonical_json(
        {
            "_type": STATEMENT,
            "subject": subjects(manifest),
            "predicateType": predicate_type,
            "predicate": dict(predicate),
        }
    )
