"""Signed statements about a build, and the policy in front of the release keys."""

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgewright.controller import registry
from edgewright.controller.compiler.proof import was_raced
from edgewright.controller.compiler.protocol import BuildResult, Built
from edgewright.controller.database.evidencetables import Rebuild
from edgewright.controller.errors import DataFolderDamagedError, ProvenanceError
from edgewright.controller.provenance.attest import attest, files_in, gather, verify_build
from edgewright.controller.provenance.bundle import open_bundle
from edgewright.controller.provenance.statements import (
    CARD,
    SBOM,
    TOOLCHAIN,
    make_provenance,
    make_test_result,
    papers_in,
)
from edgewright.controller.provenance.words import tell
from edgewright.controller.trust.envelopes import BuildKey, open_envelope
from edgewright.wire.canonical import sha256_hex
from tests.controller.attested import MODEL, TARGET, Attested, attested_version


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Attested:
    """Version 1, attested once for the tests that only look."""
    return attested_version(tmp_path_factory.mktemp("attested"))


def _dependencies(statement: dict[str, Any]) -> dict[str, dict[str, Any]]:
    items = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    return {item["uri"]: item for item in items}


def test_the_statement_names_what_went_in(bench: Attested) -> None:
    """Source, frames, declaration and compilers stand in it by digest or version, and the gates' log too."""
    statement = open_bundle(bench.bundle(), bench.manifest()).provenance
    named = _dependencies(statement)
    assert files_in(statement) == bench.files
    assert named["model:small.onnx"]["annotations"]["role"] == "source model"
    assert any(uri.startswith("pkg:pypi/onnxruntime@") for uri in named)
    log = statement["predicate"]["runDetails"]["byproducts"][0]["digest"]["sha256"]
    assert {entry["candidate"] for entry in json.loads(bench.blobs.read(log))} >= {"int8"}


def test_the_gates_outcome_is_a_statement_of_its_own(bench: Attested) -> None:
    """The target of this machine has passed all gates; what could not be judged is a warning, by name."""
    ours = open_bundle(bench.bundle(), bench.manifest()).tests["predicate"]
    assert (ours["result"], ours["failedTests"]) == ("PASSED", [])
    assert "top-1 agreement" in ours["passedTests"]
    other = open_bundle(bench.bundle("aarch64-ort-cpu"), bench.manifest("aarch64-ort-cpu")).tests["predicate"]
    assert (other["result"], other["warnedTests"]) == ("WARNED", ["latency"])


def test_release_keys_sign_both_statements_through_the_manifest(bench: Attested) -> None:
    """The manifest holds the digests of exactly the bytes that the build key has signed, and that key."""
    manifest, (first, second) = bench.manifest(), bench.bundle().splitlines()
    key = bytes.fromhex(manifest.build_key)
    assert sha256_hex(open_envelope(first, key)) == manifest.provenance_sha256
    assert sha256_hex(open_envelope(second, key)) == manifest.tests_sha256
    assert key == bench.key.public_der


def test_attesting_twice_gives_the_same_manifest(bench: Attested) -> None:
    """Statements hold no time: only the signatures differ from one attestation of a build to the next."""
    again = attest(bench.facts, bench.plain, bench.blobs, bench.key)
    assert [built.sha256 for built in again.built] == [built.sha256 for built in bench.result.built]


def test_the_build_key_is_its_owners_alone(bench: Attested, tmp_path: Path) -> None:
    """The key's file has mode 0600, and what is no P-256 key is refused by name."""
    assert stat.S_IMODE(bench.key.path.stat().st_mode) == 0o600
    broken = BuildKey(tmp_path)
    broken.path.parent.mkdir(parents=True)
    broken.path.write_bytes(b"no key")
    with pytest.raises(DataFolderDamagedError, match="no key"):
        broken.sign(b"{}")


def test_the_policy_lets_an_honest_build_through(bench: Attested) -> None:
    """What was built from the version's files and attested here may be signed."""
    verify_build(bench.result, bench.files, bench.blobs, bench.key)


def test_other_inputs_are_refused(bench: Attested) -> None:
    """A version whose source is not what the build was made from gets no release signature."""
    changed = {**bench.files, "small.onnx": "ab" * 32}
    with pytest.raises(ProvenanceError, match="other files"):
        verify_build(bench.result, changed, bench.blobs, bench.key)


def test_a_swapped_artifact_is_refused(bench: Attested) -> None:
    """A manifest that names another artifact than the statement's subject gets no release signature."""
    built = next(built for built in bench.result.built if built.target == TARGET)
    evil = bench.blobs.put(b"another model")
    manifest = bench.manifest()
    swapped = msgspec.structs.replace(
        manifest, artifact=msgspec.structs.replace(manifest.artifact, sha256=evil)
    )
    data = msgspec.json.encode(swapped)
    forged = msgspec.structs.replace(
        built, sha256=bench.blobs.put(data), length=len(data), artifact_sha256=evil
    )
    with pytest.raises(ProvenanceError, match="other bytes"):
        verify_build(_with(bench, forged), bench.files, bench.blobs, bench.key)


def test_a_foreign_build_key_is_refused(bench: Attested, tmp_path: Path) -> None:
    """A build that another key attested gets no release signature, nor one that nobody attested."""
    foreign = attest(bench.facts, bench.plain, bench.blobs, BuildKey(tmp_path))
    for result in (foreign, bench.plain):
        with pytest.raises(ProvenanceError, match="not attested by this controller"):
            verify_build(result, bench.files, bench.blobs, bench.key)


def test_failed_gates_are_refused(bench: Attested) -> None:
    """A signed test result that says FAILED is a bundle that nobody accepts, whatever the manifest says."""
    built = next(built for built in bench.plain.built if built.target == TARGET)
    verdicts = tuple(
        replace(verdict, passed=False, failed_gates=("logit error",)) for verdict in built.verdicts
    )
    failed = msgspec.structs.replace(built, verdicts=verdicts)
    assert (
        json.loads(make_test_result(bench.facts, failed, bench.manifest()))["predicate"]["result"] == "FAILED"
    )
    result = attest(
        bench.facts, msgspec.structs.replace(bench.plain, built=(failed,)), bench.blobs, bench.key
    )
    with pytest.raises(ProvenanceError, match="gates were passed"):
        verify_build(result, bench.files, bench.blobs, bench.key)


def test_gates_that_ended_otherwise_are_refused(bench: Attested) -> None:
    """A build result whose verdict is not the one that was signed gets no release signature."""
    built = next(built for built in bench.result.built if built.target == TARGET)
    verdicts = tuple(replace(verdict, passed_gates=("finite logits",)) for verdict in built.verdicts)
    changed = _with(bench, msgspec.structs.replace(built, verdicts=verdicts))
    with pytest.raises(ProvenanceError, match="ended otherwise"):
        verify_build(changed, bench.files, bench.blobs, bench.key)


def test_a_bundle_of_another_target_is_refused(bench: Attested) -> None:
    """A true bundle beside a manifest that it was not made for does not verify."""
    with pytest.raises(ProvenanceError, match="not the one that the manifest names"):
        open_bundle(bench.bundle("aarch64-ort-cpu"), bench.manifest())


@pytest.mark.parametrize(
    "damage", [b"", b"{}\n{}\n", b"[1]\n[2]\n", b"\xff\n\xff\n", b'{"payload":1}\nnull\n']
)
def test_what_is_no_bundle_is_refused(bench: Attested, damage: bytes) -> None:
    """Bytes that are no pair of envelopes are refused with one error, whatever they are."""
    with pytest.raises(ProvenanceError):
        open_bundle(damage, bench.manifest())


def test_one_edited_byte_breaks_the_signature(bench: Attested) -> None:
    """A bit that flips anywhere in a signed payload is noticed."""
    first, second = bench.bundle().splitlines()
    envelope = json.loads(first)
    position = len(envelope["payload"]) // 2
    other = "A" if envelope["payload"][position] != "A" else "B"
    envelope["payload"] = envelope["payload"][:position] + other + envelope["payload"][position + 1 :]
    with pytest.raises(ProvenanceError, match="not signed by the build key"):
        open_bundle(json.dumps(envelope).encode() + b"\n" + second, bench.manifest())


def test_a_rebuild_names_its_frames(tmp_path: Path) -> None:
    """A rebuilt version's statement has its parent, its rung and the digest of the frames it learned from."""
    bench = attested_version(tmp_path)
    dataset = bench.blobs.put(b'{"labels":["a"],"fit":[],"gate":[],"left_out":{}}')
    with bench.db.session() as session:
        registry.record_build(session, bench.result)
        version = registry.add_version(session, MODEL, bench.files, "rebuild", 1)
        gates = {"dataset": dataset, "fit": 30, "gate": 12, "labels": ["a"]}
        session.add(
            Rebuild(
                model=MODEL,
                from_version=1,
                cause="blue came up",
                state="building",
                queued_at=1.0,
                rung="head",
                new_version=version,
                gates=gates,
            )
        )
    with bench.db.reading() as session:
        facts = gather(session, bench.blobs, registry.find_version(session, MODEL, version), "")
    plain = msgspec.structs.replace(bench.plain, version=version)
    statement = json.loads(
        bench.blobs.read(attest(facts, plain, bench.blobs, bench.key).built[0].provenance_sha256)
    )
    named = _dependencies(statement)
    assert named["dataset:rebuild-1"]["digest"]["sha256"] == dataset
    assert named["dataset:rebuild-1"]["annotations"]["fit"] == 30
    parent = bench.result.built[0]
    assert named[f"version:small/{parent.target}/1"]["digest"]["sha256"] == parent.sha256
    internal = statement["predicate"]["buildDefinition"]["internalParameters"]
    assert (internal["rebuild"]["rung"], internal["rebuild"]["cause"]) == ("head", "blue came up")


def _with(bench: Attested, built: Built) -> BuildResult:
    return msgspec.structs.replace(bench.result, built=(built,))


def test_the_statement_names_data_by_use_and_what_was_made_beside(bench: Attested) -> None:
    """Calibration, holdout and replay stand by digest, and the bill of materials that the build stored."""
    predicate = open_bundle(bench.bundle(), bench.manifest()).provenance["predicate"]
    data = predicate["buildDefinition"]["internalParameters"]["data"]
    frames = bench.files["data/calibration.npz"]
    assert data == {"calibration": frames, "holdout": bench.files["data/holdout.npz"], "replay": frames}
    named = papers_in({"predicate": predicate})
    assert named == {CARD: bench.result.card_sha256, SBOM: bench.result.sbom_sha256}
    assert json.loads(bench.blobs.read(named[SBOM]))["bomFormat"] == "CycloneDX"


def test_the_statement_names_runtimes_numbers_and_toolchains_but_no_times(bench: Attested) -> None:
    """What the gates ran on and measured is signed, and what made the artifact; a time or memory is not."""
    built = next(built for built in bench.plain.built if built.target == TARGET)
    numbers = {**built.numbers, "latency_ratio": 0.5, "fp32_latency_us": 12.0, "memory_mb": 3.0}
    tools = {"onnx2tf": "2.6.9", **built.tools}
    manifest = bench.manifest()
    changed = msgspec.structs.replace(built, numbers=numbers, tools=tools)
    statement = json.loads(make_provenance(bench.facts, changed, manifest, {}))
    internal = statement["predicate"]["buildDefinition"]["internalParameters"]
    assert internal["provenOn"] == list(built.proven_on)
    assert internal["provenOn"][0].startswith("onnxruntime ")
    assert internal["latencyJudged"] is was_raced(built.numbers)
    assert internal["numbers"]["agreement"] == built.numbers["agreement"]
    assert not [name for name in internal["numbers"] if "latency" in name or "memory" in name]
    named = _dependencies(statement)
    assert named["pkg:pypi/onnx2tf@2.6.9"]["annotations"]["role"] == TOOLCHAIN
    ours = [uri for uri in named if uri.startswith("pkg:pypi/onnxruntime@")]
    assert len(ours) == 1
    assert "annotations" not in named[ours[0]]


def test_a_person_is_told_all_of_it(bench: Attested) -> None:
    """In plain words: data by use, runtimes, numbers, card and bill; older statements are told without."""
    told = open_bundle(bench.bundle(), bench.manifest())
    key = bench.manifest().build_key
    said = {line.about: line.said for line in tell(told, key)}
    assert said["Proven on"].startswith("onnxruntime ")
    assert said["Measured"].startswith("agrees with fp32 on ")
    assert said["SBOM"] == f"SHA-256 {bench.result.sbom_sha256[:12]}"
    uses = [line.said.split()[0] for line in tell(told, key) if line.about == "Used as"]
    assert uses == ["calibration", "holdout", "replay"]
    internal = told.provenance["predicate"]["buildDefinition"]["internalParameters"]
    for name in ("provenOn", "numbers", "data"):
        del internal[name]
    del told.provenance["predicate"]["runDetails"]["byproducts"]
    assert {"Compilers", "Gates"} <= {line.about for line in tell(told, key)}
