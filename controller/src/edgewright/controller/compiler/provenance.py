"""How an artifact came to be: a statement in the form of SLSA provenance v1 inside an in-toto statement v1.

It names what went in by digest and the tools by version, and holds no time and no measured latency, so the
same build gives the same bytes. The manifest carries its digest, so signing the manifest vouches for it.

Sources: https://slsa.dev/spec/v1.0/provenance and https://github.com/in-toto/attestation (statement v1).
"""

from collections.abc import Mapping
from importlib.metadata import version as distribution_version
from typing import Any, Final

from edgewright.wire.canonical import canonical_json

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "urn:edgewright:build:v1"
BUILDER: Final = "urn:edgewright:builder:local"
COMPILERS: Final = ("edgewright-controller", "onnx", "onnxruntime", "numpy", "opencv-python-headless")


def make_provenance(
    subject: tuple[str, str], parameters: Mapping[str, Any], sources: Mapping[str, str], inherited: str
) -> bytes:
    """Canonical JSON of the statement.

    Args:
        subject: name and SHA-256 of the artifact.
        parameters: model, version, target, precision and what else was chosen.
        sources: path in the model's folder to SHA-256.
        inherited: SHA-256 of the parent's calibration ranges, empty for none.
    """
    materials = [{"uri": f"model:{path}", "digest": {"sha256": sha}} for path, sha in sorted(sources.items())]
    if inherited:
        materials.append({"uri": "calibration:parent", "digest": {"sha256": inherited}})
    tools = [{"uri": f"pkg:pypi/{name}@{distribution_version(name)}"} for name in COMPILERS]
    return canonical_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": subject[0], "digest": {"sha256": subject[1]}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": dict(parameters),
                    "resolvedDependencies": [*materials, *tools],
                },
                "runDetails": {"builder": {"id": BUILDER}},
            },
        }
    )
