"""Provenance in plain words, for the command line and the page."""

import hashlib
from typing import Any, Final, NamedTuple

from edgewright.controller.compiler.proof import how_proven
from edgewright.controller.provenance.bundle import Told
from edgewright.controller.provenance.statements import CARD, SBOM, TOOLCHAIN, papers_in

LEVEL: Final = "signed by the controller outside the compiling process (SLSA Build L2-like)"
_ROLES: Final = {
    "source model": "Source model",
    "recipe": "Recipe",
    "declaration and gates": "Declaration",
}
_PAPERS: Final = {CARD: "Model card", SBOM: "SBOM"}
_NUMBERS: Final = {
    "agreement": "agrees with fp32 on {:.2%}",
    "logit_error": "relative error {:.4f}",
    "worst_class_bound": "loses at most {:.2%} in the worst class",
    "size_ratio": "{:.2f} of fp32's size",
}
_DIGEST_SHOWN: Final = 12


class Line(NamedTuple):
    """One thing that is told: what it is about, and the sentence."""

    about: str
    said: str


def key_id(public_key: str) -> str:
    """Short name of a public key: the beginning of its SHA-256.

    >>> key_id("00")
    '6e340b9cffb37a98'
    """
    return hashlib.sha256(bytes.fromhex(public_key)).hexdigest()[:16]


def tell(told: Told, build_key: str) -> tuple[Line, ...]:
    """What a person asks about a version: data, recipe, compilers, gates, signer."""
    definition = told.provenance["predicate"]["buildDefinition"]
    given, internal = definition["externalParameters"], definition["internalParameters"]
    materials = definition["resolvedDependencies"]
    lines = [Line("Artifact", _artifact(told, given, internal)), Line("Came by", _origin(given, internal))]
    lines += [
        Line(_ROLES[role], f"{item['uri'].partition(':')[2]} ({_short(item)})")
        for item in materials
        if (role := _role(item)) in _ROLES
    ]
    lines += [
        Line("Data", f"{item['uri'].partition(':')[2]}: {_role(item)}{_counted(item)} ({_short(item)})")
        for item in materials
        if item["uri"].startswith("dataset:") or "frames" in _role(item)
    ]
    lines += [Line("Used as", said) for said in _uses(internal)]
    lines.append(Line("Compilers", _tools(materials, "")))
    if toolchains := _tools(materials, TOOLCHAIN):
        lines.append(Line("Toolchains", toolchains))
    # Statements that were signed before these were told have none of them.
    if runtimes := internal.get("provenOn"):
        lines.append(Line("Proven on", ", ".join(runtimes)))
    lines.append(Line("Gates", _gates(told.tests["predicate"])))
    if numbers := _numbers(internal.get("numbers", {})):
        lines.append(Line("Measured", numbers))
    lines += [Line("On a device", said) for said in _devices(internal)]
    lines += _papers(told)
    if internal.get("confidential"):
        lines.append(Line("Encrypted", "devices open it with a key that is wrapped for each of them"))
    lines.append(Line("Signed by", f"build key {key_id(build_key)}; {LEVEL}"))
    return tuple(lines)


def _artifact(told: Told, given: dict[str, Any], internal: dict[str, Any]) -> str:
    digest = told.provenance["subject"][0]["digest"]["sha256"]
    # Statements that were signed before this was told do not say whether latency was judged.
    how = how_proven(internal["qualification"], internal.get("latencyJudged", False))
    return f"{internal['candidate']} for {given['target']}, {how}, SHA-256 {digest}"


def _origin(given: dict[str, Any], internal: dict[str, Any]) -> str:
    if given["source"] != "rebuild":
        return "a push"
    rebuild = internal["rebuild"]
    return (
        f"rebuild {rebuild.get('number')} of v{given['parent']}, rung {rebuild.get('rung')}, "
        f"because: {rebuild.get('cause')}"
    )


def _gates(tests: dict[str, Any]) -> str:
    said = f"passed: {', '.join(tests['passedTests'])}"
    if tests["warnedTests"]:
        said += f"; not judged on the building machine: {', '.join(tests['warnedTests'])}"
    return said


def _uses(internal: dict[str, Any]) -> list[str]:
    return [f"{use} (SHA-256 {sha256[:_DIGEST_SHOWN]})" for use, sha256 in internal.get("data", {}).items()]


def _tools(materials: list[dict[str, Any]], role: str) -> str:
    tools = [item["uri"] for item in materials if item["uri"].startswith("pkg:") and _role(item) == role]
    return ", ".join(tool.removeprefix("pkg:pypi/").replace("@", " ") for tool in tools)


def _numbers(numbers: dict[str, float]) -> str:
    return ", ".join(text.format(numbers[name]) for name, text in _NUMBERS.items() if name in numbers)


def _devices(internal: dict[str, Any]) -> list[str]:
    return [
        f"{one['candidate']} on {one['device']}, order {one['order']}: "
        + (
            f"p50 {one['latency_p50_us']} us, p99 {one['latency_p99_us']} us, {one['memory_mb']:.0f} MiB, "
            f"on {one['runtime']}"
            if one["ok"]
            else f"failed with E{one['error']:03d}"
        )
        for one in internal.get("devices", [])
    ]


def _papers(told: Told) -> list[Line]:
    papers = papers_in(told.provenance)
    return [Line(_PAPERS[name], f"SHA-256 {sha256[:_DIGEST_SHOWN]}") for name, sha256 in papers.items()]


def _role(item: dict[str, Any]) -> str:
    return str(item.get("annotations", {}).get("role", ""))


def _counted(item: dict[str, Any]) -> str:
    counts = {name: count for name, count in item.get("annotations", {}).items() if name != "role"}
    words = {"fit": "learned from", "gate": "judged it"}
    return "".join(f", {count} {words.get(name, name)}" for name, count in sorted(counts.items()))


def _short(item: dict[str, Any]) -> str:
    return f"SHA-256 {item['digest']['sha256'][:_DIGEST_SHOWN]}"
