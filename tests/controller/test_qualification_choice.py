"""Which candidate ships, what candidates are called in an order, and the table of states: pure rules."""

import pytest

from edgewright.controller.qualification.choice import SAME, Candidate, Result, choose, plain_names
from edgewright.controller.qualification.states import (
    TRANSITIONS,
    QualificationEvent,
    QualificationState,
    advance,
)
from edgewright.wire.errors import IllegalTransitionError
from edgewright.wire.qualification import candidate_path
from simulators.repository import MODEL, TARGET


def result(sha256: str, device: str, p50: int, *, ok: bool = True) -> Result:
    """What a device measured."""
    return Result(sha256, device, ok, p50)


def test_the_fastest_that_passes_everywhere_is_chosen() -> None:
    """Speed counts on the slowest device, failure anywhere ends a candidate, and equals are told by size."""
    int8, fp32, fp16 = Candidate("int8", "a", 300), Candidate("fp32", "b", 900), Candidate("fp16", "c", 500)
    both = [int8, fp32]
    assert choose(both, []) is None
    assert choose(both, [result("a", "r1", 240)]) == int8
    faster = [result("a", "r1", 240), result("b", "r1", 180)]
    assert choose(both, faster) == fp32
    assert choose(both, [*faster, result("a", "r2", 300), result("b", "r2", 400)]) == int8
    assert choose(both, [*faster, result("b", "r2", 400)]) == fp32, "nobody knows how slow int8 is on r2"
    apart = [result("a", "r1", 240), result("a", "r3", 900), result("b", "r1", 300), result("b", "r2", 310)]
    assert choose(both, apart) == int8, "r1 alone has measured both"
    assert choose(both, [*faster, result("b", "r2", 0, ok=False)]) == int8
    assert choose([fp32], [result("b", "r1", 0, ok=False)]) is None
    disputed = [*faster, *(result(name, "r2", 0, ok=False) for name in "ab")]
    assert choose(both, disputed) == fp32, "one device ends nothing that another has measured"
    outvoted = [*disputed, result("b", "r3", 0, ok=False)]
    assert choose(both, outvoted) == int8, "most of its devices do"
    assert choose([fp32], outvoted) is None
    assert choose(both, [*faster, result("b", "r2", 900, ok=False)]) == int8
    assert choose([fp32, fp16], [*disputed, result("c", "r1", 9000)]) == fp16, (
        "what nobody failed comes first"
    )
    nearly = [result("b", "r1", 1000), result("c", "r1", int(1000 * SAME))]
    assert choose([fp32, fp16], nearly) == fp16
    assert choose([fp32, fp16], [nearly[0], result("c", "r1", int(1000 * SAME) + 1)]) == fp32


def test_no_two_candidates_share_a_name() -> None:
    """Names that differ in what cannot stand in a path, or after 64 letters, differ in an order too."""
    long = "x" * 70
    names = ["int8 (a)", "int8-(a)", "int8--a-.2", "int8 [a]", long, long + "y", ""]
    plain = plain_names(names)
    assert len(set(plain)) == len(names)
    assert plain == plain_names(names)
    for name in plain:
        assert len(name) <= 64
        candidate_path(MODEL, TARGET, 1, name)
    assert plain_names(["int8", "fp32"]) == ["int8", "fp32"]


def test_the_table_is_all_that_happens() -> None:
    """What the table does not list is refused, and nothing leaves a final state."""
    for state in QualificationState:
        for event in QualificationEvent:
            if (state, event) in TRANSITIONS:
                assert advance(state, event) == TRANSITIONS[state, event]
            else:
                with pytest.raises(IllegalTransitionError):
                    advance(state, event)
    assert not any(state in ("measured", "failed", "unmeasured") for state, _ in TRANSITIONS)
