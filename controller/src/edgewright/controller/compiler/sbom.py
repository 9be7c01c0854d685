"""The bill of materials of a version: CycloneDX 1.6 (ECMA-424), JSON. The one file with ``cyclonedx``.

It lists the model with its card, the artifact of each target, data by digest, the parts whose licence was
stated, the runtimes that artifacts need and the tools that made them. It is a function of what went in and
came out: there is no time in it, the serial number is derived from the content, and measured times and
memory are left out. So the same build gives the same bytes, and the signed provenance names their digest.

The library knows no model cards (as of version 11), so ``modelCard`` is put into its document here.

Source: https://cyclonedx.org/docs/1.6/json/
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.bom_ref import BomRef
from cyclonedx.model.component import Component, ComponentScope, ComponentType, Pedigree
from cyclonedx.model.dependency import Dependency
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from edgewright.controller.compiler.facts import (
    USES,
    CompileFacts,
    DataFacts,
    TargetFacts,
    known_limits,
)
from edgewright.controller.compiler.licences import THE_FILE, THE_MODEL, Stated
from edgewright.controller.compiler.measured import settled
from edgewright.controller.compiler.subject import Port
from edgewright.wire.canonical import canonical_json, sha256_hex
from edgewright.wire.manifest import RuntimeRange

SPEC_VERSION: Final = "1.6"
_MODEL: Final = "model"
_PACKAGE: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_NOT_PACKAGES: Final = frozenset({"python"})
_VERSION: Final = re.compile(r"\d+(\.\d+)+\S*")
_NO_SERIAL: Final = UUID(int=0)


def make_sbom(facts: CompileFacts) -> bytes:
    """Canonical JSON of the bill of materials."""
    artifacts = [_artifact(facts, one) for one in facts.targets]
    runtimes = {_runtime_ref(one.runtime): _runtime(one) for one in facts.targets}
    others = [*_data(facts), *_parts(facts.licences), *_goldens(facts), *_tools(facts)]
    bom = Bom(
        serial_number=_NO_SERIAL,
        metadata=BomMetaData(component=_model(facts)),
        components=[*artifacts, *runtimes.values(), *others],
        dependencies=_dependencies(facts),
    )
    document: dict[str, Any] = msgspec.json.decode(JsonV1Dot6(bom).output_as_string())
    # The library writes the present time and its own name; neither follows from the build.
    document["metadata"] = {
        "component": document["metadata"]["component"] | {"modelCard": _model_card(facts)}
    }
    document.pop("serialNumber")
    document["serialNumber"] = uuid5(NAMESPACE_URL, f"sha256:{sha256_hex(canonical_json(document))}").urn
    return canonical_json(document)


def _model(facts: CompileFacts) -> Component:
    ancestors = [
        Component(
            type=ComponentType.MACHINE_LEARNING_MODEL,
            name=facts.name,
            version=str(facts.parent),
            bom_ref="parent",
        )
    ]
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=facts.name,
        version=str(facts.version) if facts.version else None,
        bom_ref=_MODEL,
        hashes=[_sha256(facts.source_sha256)],
        licenses=_licence(next(one for one in facts.licences if one.part == THE_MODEL)),
        pedigree=Pedigree(ancestors=ancestors) if facts.parent else None,
        properties=_properties({"file": facts.source_file, "length": facts.source_length}),
    )


def _artifact(facts: CompileFacts, one: TargetFacts) -> Component:
    told: dict[str, str | int] = {
        "length": one.length,
        "target": one.target,
        "candidate": one.candidate,
        "precision": one.precision,
        "qualification": one.qualification,
        "provenOn": ", ".join(one.proven_on),
        "leftInFloat": ", ".join(one.left_alone),
        "encrypted": "yes" if facts.confidential else "",
    }
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=f"{facts.name} for {one.target}",
        version=str(facts.version) if facts.version else None,
        bom_ref=_artifact_ref(one),
        hashes=[_sha256(one.sha256)],
        licenses=_licence(next(stated for stated in facts.licences if stated.part == THE_MODEL)),
        properties=_properties(told),
    )


def _runtime(one: TargetFacts) -> Component:
    runtime = one.runtime
    found = next((_VERSION.search(text) for text in one.proven_on if text.startswith(runtime.name)), None)
    told = {
        "versions": f"vers:pypi/>={runtime.minimum}|<{runtime.below}",
        "provider": runtime.provider,
    }
    return Component(
        type=ComponentType.FRAMEWORK,
        name=runtime.name,
        version=found.group() if found else None,
        bom_ref=_runtime_ref(runtime),
        properties=_properties(told),
    )


def _data(facts: CompileFacts) -> Iterator[Component]:
    for data in facts.data:
        told: dict[str, str | int] = {
            "use": data.use,
            "rows": data.rows,
            "drawn": "yes" if data.synthetic else "",
        }
        yield Component(
            type=ComponentType.DATA,
            name=data.file,
            description=f"The {data.use} set: {USES[data.use]}.",
            bom_ref=_data_ref(data),
            hashes=[_sha256(data.sha256)] if data.sha256 else None,
            properties=_properties(told),
        )


def _parts(licences: Iterable[Stated]) -> Iterator[Component]:
    """What the model was made from, as far as a licence was stated for it."""
    for one in licences:
        if one.part not in {THE_MODEL, THE_FILE}:
            yield Component(
                type=ComponentType.DATA,
                name=one.part,
                bom_ref=f"part:{one.part}",
                licenses=_licence(one),
                properties=_properties({"licence": "" if one.expression else one.text or "not stated"}),
            )


def _goldens(facts: CompileFacts) -> Iterator[Component]:
    for one in facts.targets:
        yield Component(
            type=ComponentType.DATA,
            name=f"golden vectors for {one.target}",
            bom_ref=f"golden:{one.target}",
            hashes=[_sha256(one.golden_sha256)],
            properties=_properties({"rows": one.golden_count}),
        )


def _tools(facts: CompileFacts) -> Iterator[Component]:
    made = dict.fromkeys(facts.compilers.items(), "")
    for one in facts.targets:
        for tool in one.tools.items():
            made[tool] = ", ".join(filter(None, (made.get(tool, ""), one.target)))
    for (name, version), targets in sorted(made.items()):
        packaged = _PACKAGE.fullmatch(name) is not None and name.lower() not in _NOT_PACKAGES
        yield Component(
            type=ComponentType.APPLICATION,
            name=name,
            version=version,
            bom_ref=f"tool:{name}@{version}",
            scope=ComponentScope.EXCLUDED,
            purl=PackageURL("pypi", name=name.lower(), version=version) if packaged else None,
            properties=_properties({"madeArtifactsFor": targets}),
        )


def _dependencies(facts: CompileFacts) -> list[Dependency]:
    """The model is published as its artifacts, and each of them runs on its runtime."""
    artifacts = [Dependency(BomRef(_artifact_ref(one))) for one in facts.targets]
    runs = [
        Dependency(BomRef(_artifact_ref(one)), [Dependency(BomRef(_runtime_ref(one.runtime)))])
        for one in facts.targets
    ]
    return [Dependency(BomRef(_MODEL), artifacts), *runs]


def _model_card(facts: CompileFacts) -> dict[str, Any]:
    card: dict[str, Any] = {
        "modelParameters": {
            "task": "classification" if facts.labels else "inference",
            "datasets": [{"ref": _data_ref(data)} for data in facts.data],
            "inputs": [{"format": _format(port)} for port in facts.inputs],
            "outputs": [{"format": _format(port)} for port in facts.outputs],
        },
        "quantitativeAnalysis": {
            "performanceMetrics": [
                {"type": name, "value": f"{value:.6g}", "slice": one.target}
                for one in facts.targets
                for name, value in settled(one.numbers).items()
            ]
        },
    }
    if limits := known_limits(facts):
        card["considerations"] = {"technicalLimitations": list(limits)}
    if facts.labels:
        card["properties"] = [{"name": "edgewright:labels", "value": ", ".join(facts.labels)}]
    return card


def _properties(told: Mapping[str, str | int]) -> list[Property]:
    return [Property(name=f"edgewright:{name}", value=str(value)) for name, value in told.items() if value]


def _licence(one: Stated) -> list[LicenseExpression]:
    return [LicenseExpression(one.expression)] if one.expression else []


def _sha256(digest: str) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=digest)


def _format(port: Port) -> str:
    return f"{port.name}: {port.dtype} [{', '.join(map(str, port.shape))}]"


def _artifact_ref(one: TargetFacts) -> str:
    return f"artifact:{one.target}"


def _runtime_ref(runtime: RuntimeRange) -> str:
    return f"runtime:{runtime.name}:{runtime.provider}:{runtime.minimum}"


def _data_ref(data: DataFacts) -> str:
    return f"data:{data.use}:{data.file}"
