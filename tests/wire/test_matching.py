"""Facts of devices against demands of targets: as a table, and with whatever a device may say."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from edgewright.wire.manifest import RuntimeRange
from edgewright.wire.matching import Demands, Facts, fits, rank
from edgewright.wire.targets import shipped_demands
from edgewright.wire.versions import is_within

TABLE = shipped_demands()
ORT = "onnxruntime 1.31.1 CPUExecutionProvider"
OPENVINO = "onnxruntime 1.24.1 OpenVINOExecutionProvider"
OLD_PC = Facts(machine="x86_64", cpu=("sse4", "avx2"), runtimes=(ORT,), memory_mb=4096)
NEW_PC = Facts(machine="x86_64", cpu=("sse4", "avx2", "vnni"), runtimes=(ORT,), memory_mb=16384)
BOARD_64 = Facts(machine="aarch64", cpu=("neon", "dotprod"), runtimes=(ORT, "litert 2.3.0 XNNPACK"))
BOARD_32 = Facts(machine="armv7l", cpu=("neon",), runtimes=("tflite-runtime 2.14.0 XNNPACK",), memory_mb=512)
CASES = {
    "a PC with VNNI": ("x86_64-ort-cpu", NEW_PC, (), ()),
    "a PC without": ("x86_64-ort-cpu", OLD_PC, ("lacks vnni",), ()),
    "a PC without, fp32": ("x86_64-ort-cpu-fp32", OLD_PC, (), ()),
    "an ARM board as a PC": ("x86_64-ort-cpu", BOARD_64, ("processor is aarch64", "lacks vnni"), ()),
    "an ARM board": ("aarch64-ort-cpu", BOARD_64, (), ()),
    "an ARM board, LiteRT": ("aarch64-litert", BOARD_64, (), ()),
    "a 32-bit board": ("armv7-tflite", BOARD_32, (), ()),
    "a 32-bit board asked for onnxruntime": (
        "aarch64-ort-cpu",
        BOARD_32,
        ("processor is armv7l", "has no onnxruntime 1.24 to below 2.0"),
        (),
    ),
    "OpenVINO of the right release": (
        "x86_64-openvino",
        msgspec.structs.replace(NEW_PC, runtimes=(ORT, OPENVINO)),
        (),
        (),
    ),
    "OpenVINO of a release that was never proven": (
        "x86_64-openvino",
        msgspec.structs.replace(NEW_PC, runtimes=(OPENVINO.replace("1.24", "1.31"),)),
        ("onnxruntime is 1.31.1, and the target needs onnxruntime 1.24 to below 1.25",),
        (),
    ),
    "onnxruntime without OpenVINO": ("x86_64-openvino", NEW_PC, ("no OpenVINOExecutionProvider",), ()),
    "a pre-release of the oldest release": (
        "aarch64-ort-cpu",
        msgspec.structs.replace(BOARD_64, runtimes=("onnxruntime 1.24.0rc1 CPUExecutionProvider",)),
        ("onnxruntime is 1.24.0rc1",),
        (),
    ),
    "a build of somebody's own": (
        "aarch64-ort-cpu",
        msgspec.structs.replace(BOARD_64, runtimes=("onnxruntime 1.24.1+jetson CPUExecutionProvider",)),
        (),
        (),
    ),
    "a version that is none": (
        "aarch64-ort-cpu",
        msgspec.structs.replace(BOARD_64, runtimes=("onnxruntime newest CPUExecutionProvider",)),
        (),
        ("runtime",),
    ),
    "an agent that tells no provider": (
        "aarch64-litert",
        msgspec.structs.replace(BOARD_64, runtimes=("litert 2.3.0",)),
        (),
        ("runtime",),
    ),
    "an older agent": ("x86_64-ort-cpu", Facts(), (), ("processor", "processor features", "runtime")),
    "another name of the same": (
        "aarch64-ort-cpu",
        msgspec.structs.replace(BOARD_64, machine="arm64"),
        (),
        (),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_device_is_held_against_a_target(case: str) -> None:
    """Each contradiction is one sentence, and what is not known contradicts nothing."""
    target, facts, reasons, unknown = CASES[case]
    match = fits(TABLE[target], facts)
    assert len(match.reasons) == len(reasons)
    assert all(wanted in said for wanted, said in zip(reasons, match.reasons, strict=True))
    assert match.unknown == unknown
    assert (match.ok, match.sure) == (not reasons, not reasons and not unknown)


@pytest.mark.parametrize(
    ("told", "best"),
    [
        (NEW_PC, ("x86_64-ort-cpu", "x86_64-ort-cpu-fp32")),
        (OLD_PC, ("x86_64-ort-cpu-fp32",)),
        (
            msgspec.structs.replace(OLD_PC, runtimes=(ORT, OPENVINO)),
            ("x86_64-ort-cpu-fp32", "x86_64-openvino"),
        ),
        (BOARD_64, ("aarch64-ort-cpu", "aarch64-litert")),
        (BOARD_32, ("armv7-tflite",)),
        (Facts(), ()),
        (Facts(machine="riscv64", cpu=("rvv",), runtimes=(ORT,)), ()),
    ],
)
def test_targets_are_ranked(told: Facts, best: tuple[str, ...]) -> None:
    """Targets that a device fits for sure come in the table's order; who says nothing fits none for sure."""
    assert rank(told, TABLE.values()) == best


def test_memory_is_held_against_the_targets_limit() -> None:
    """A machine with less memory than the target needs contradicts it; one that tells none does not."""
    large = Demands(summary="s", machine="armv7l", runtime=TABLE["armv7-tflite"].runtime, memory_mb=1024)
    assert fits(large, BOARD_32).reasons == ("it has 512 MiB of memory, and the target needs 1024",)
    assert fits(large, msgspec.structs.replace(BOARD_32, memory_mb=0)).unknown == ("memory",)


WORDS = st.text(max_size=40) | st.sampled_from(
    ["x86_64", ORT, OPENVINO, "onnxruntime", "litert 9!1.0", "1" * 99]
)


@given(
    st.builds(
        Facts,
        machine=WORDS,
        cpu=st.lists(WORDS, max_size=4).map(tuple),
        runtimes=st.lists(WORDS, max_size=4).map(tuple),
        memory_mb=st.integers(),
    )
)
def test_whatever_a_device_says_is_answered(told: Facts) -> None:
    """No words of a device make the match raise, and each reason is short enough for a line."""
    for target in TABLE.values():
        assert all(len(reason) < 300 for reason in fits(target, told).reasons)
    rank(told, TABLE.values())


NUMBERS = st.lists(st.integers(0, 30), min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts)))
SUFFIXES = st.sampled_from(
    ["", "rc1", ".dev3", "a2", ".post1", "+cu12", "-2", ".post1.dev2", "b1.dev2", "C4"]
)
VERSIONS = st.builds(str.__add__, NUMBERS, SUFFIXES) | st.text("0123456789.rcdevpost!+-v", max_size=12)


@given(VERSIONS, NUMBERS, NUMBERS)
def test_ranges_are_those_of_python_packages(version: str, minimum: str, below: str) -> None:
    """A version is in a range, or is none, exactly where PyPA's own reader says so."""
    try:
        known: bool | None = SpecifierSet(f">={minimum},<{below}").contains(
            Version(version), prereleases=True
        )
    except InvalidVersion:
        known = None
    assert is_within(version, minimum, below) is known


def test_an_absurd_version_is_none() -> None:
    """Numbers that Python refuses to read are no version, and no error either."""
    assert is_within("1." + "9" * 5000, "1", "2") is None
    absurd = RuntimeRange("onnxruntime", "many", "more", "CPUExecutionProvider")
    assert fits(Demands(summary="s", machine="aarch64", runtime=absurd), BOARD_64).unknown == ("runtime",)
