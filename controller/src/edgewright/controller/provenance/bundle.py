"""The bundle: both signed statements of one artifact, as an in-toto attestation bundle.

One DSSE envelope a line (JSON Lines, media type ``application/vnd.in-toto.bundle``): provenance first, then
the test result. It is stored as one blob and exported as ``provenance.intoto.jsonl``.
"""

import hashlib
from typing import Any, Final, NamedTuple

import msgspec

from edgewright.controller.errors import ProvenanceError
from edgewright.controller.provenance.statements import PROVENANCE, STATEMENT, TEST_RESULT, subjects
from edgewright.controller.trust.envelopes import open_envelope
from edgewright.wire.manifest import Manifest

MAX_BUNDLE_BYTES: Final = 4 * 1024 * 1024
"""Far above what a build with many files gives (6 kB for eight files)."""

_GOOD: Final = ("PASSED", "WARNED")


class Told(NamedTuple):
    """The two statements about an artifact, verified."""

    provenance: dict[str, Any]
    tests: dict[str, Any]


def encode_bundle(provenance: bytes, tests: bytes) -> bytes:
    """A bundle of two envelopes."""
    return provenance + b"\n" + tests + b"\n"


def open_bundle(data: bytes, manifest: Manifest) -> Told:
    """Verify a bundle against the manifest that it belongs to.

    The manifest has to be trusted already: it names the key and the digests of both statements.

    Raises:
        ProvenanceError: a signature, a digest, a subject or the gates' outcome is not what it has to be.
    """
    lines = data.splitlines() if len(data) <= MAX_BUNDLE_BYTES else []
    if len(lines) != 2:
        raise ProvenanceError("The provenance is no bundle of two signed statements.")
    try:
        key = bytes.fromhex(manifest.build_key)
    except ValueError as error:
        raise ProvenanceError("The manifest names no build key.") from error
    expected = ((PROVENANCE, manifest.provenance_sha256), (TEST_RESULT, manifest.tests_sha256))
    told = [
        _verified(open_envelope(line, key), manifest, *of) for line, of in zip(lines, expected, strict=True)
    ]
    tests = told[1]["predicate"]
    if tests.get("result") not in _GOOD or tests.get("failedTests"):
        raise ProvenanceError("The signed test result does not say that the gates were passed.")
    _verify_parameters(told[0]["predicate"], manifest)
    return Told(*told)


def _verified(statement: bytes, manifest: Manifest, predicate_type: str, sha256: str) -> dict[str, Any]:
    if hashlib.sha256(statement).hexdigest() != sha256:
        raise ProvenanceError("A signed statement is not the one that the manifest names.")
    try:
        read: dict[str, Any] = msgspec.json.decode(statement, type=dict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProvenanceError("A signed statement is no JSON.") from error
    kind = (read.get("_type"), read.get("predicateType"), type(read.get("predicate")))
    if kind != (STATEMENT, predicate_type, dict):
        raise ProvenanceError(f"A signed statement is of another kind than {predicate_type}.")
    if read.get("subject") != subjects(manifest):
        raise ProvenanceError("A signed statement is about other bytes than the manifest's.")
    return read


def _verify_parameters(predicate: dict[str, Any], manifest: Manifest) -> None:
    definition = predicate.get("buildDefinition", {})
    given = definition.get("externalParameters", {}) if isinstance(definition, dict) else {}
    wanted = {"model": manifest.model, "version": manifest.version, "target": manifest.target}
    if not isinstance(given, dict) or {name: given.get(name) for name in wanted} != wanted:
        raise ProvenanceError("The signed provenance is of another version or target.")
