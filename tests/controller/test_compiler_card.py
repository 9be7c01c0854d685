"""The model card: what it tells of written-down facts, and that no text of somebody else's breaks it."""

import dataclasses
from xml.etree import ElementTree as ET

import msgspec
import numpy as np

from edgewright.controller.compiler.card import MAX_DRAWN_CLASSES, draw_confusion, make_card, measured_section
from edgewright.controller.compiler.facts import CompileFacts, DataFacts
from edgewright.controller.compiler.licences import Stated
from edgewright.controller.compiler.subject import Port
from edgewright.controller.model_toml import GatesPart
from tests.controller.compile_facts import (
    NUMBERS,
    PASSED,
    REFUSED,
    compile_facts,
    emulated_target,
    target_facts,
)


def _rows(facts: CompileFacts, heading: str) -> list[list[str]]:
    """The tables' rows below one heading, heads included."""
    text = make_card(facts).decode()
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ") and "---" not in line]
    return [line.strip("| ").split(" | ") for line in lines]


def test_each_target_has_its_numbers_and_its_proof() -> None:
    """A target's row says precision, size, agreement, error and worst class, and where they were shown."""
    rows = _rows(compile_facts(), "What ships for each target")
    by_head = dict(zip(rows[0], rows[1], strict=True))
    assert by_head["artifact"] == "int8"
    assert by_head["size"] == "246.0 kB"
    assert by_head["agrees with fp32"] == "99.25%"
    assert by_head["relative error"] == "0.0213"
    assert by_head["loss in the worst class, at most"] == "6.10%"
    proof = {row[0]: row for row in rows[4:]}
    assert proof["x86_64-ort-cpu"][1:3] == [
        "onnxruntime 1.31.1 CPUExecutionProvider",
        "emulated, latency included",
    ]
    assert proof["aarch64-litert"][2:5] == [
        "emulated",
        "ai-edge-quantizer 0.8.0, onnx2tf 2.6.9, python 3.12.1",
        "head/MatMul",
    ]


def test_refused_candidates_stand_with_their_reasons() -> None:
    """A candidate that failed is told with the gate's sentence; without one the card says that too."""
    rows = _rows(compile_facts(), "Refused")
    assert rows[1][:2] == ["x86_64-ort-cpu", "fp16"]
    assert "relative logit error 0.3100 (at most 0.1)" in rows[1][2]
    assert "look at: the layer head/MatMul" in rows[1][2]
    assert (
        "No candidate that was tried failed"
        in make_card(compile_facts(targets=(emulated_target(),))).decode()
    )


def test_card_is_the_same_for_another_run_of_the_same_build() -> None:
    """Neither speed nor memory changes the card, not even through the sentence of a refusal."""
    slower = dataclasses.replace(
        REFUSED, failures=(REFUSED.failures[0], "takes 1.71 of fp32's time (at most 1)")
    )
    numbers = {
        **NUMBERS,
        "latency_ratio": 0.9,
        "latency_us": 99.0,
        "fp32_latency_us": 110.0,
        "memory_mb": 8.0,
    }
    again = compile_facts(
        targets=(target_facts(verdicts=(slower, PASSED), numbers=numbers), emulated_target())
    )
    assert make_card(again) == make_card(compile_facts())
    assert b"0.90" in measured_section(again)
    assert b"0.68" in measured_section(compile_facts())
    nothing = compile_facts(targets=(target_facts(numbers={"agreement": 1.0}),))
    assert measured_section(nothing) == b""


def test_classes_are_told_with_what_they_are_taken_for() -> None:
    """The table of classes counts right decisions and names the most frequent wrong one."""
    rows = _rows(compile_facts(), "By class")
    assert rows[1:] == [
        ["red", "20", "90.0%", "green (1)"],
        ["green", "20", "100.0%", "-"],
        ["blue &amp; grey", "20", "80.0%", "red (4)"],
    ]


def test_picture_is_one_well_formed_drawing() -> None:
    """The SVG parses, has a cell for each kind of decision that occurred, and is left out for many."""
    drawing = ET.fromstring(draw_confusion(compile_facts()))  # noqa: S314 - our own text
    assert len(drawing.findall("{http://www.w3.org/2000/svg}rect")) == 6
    many = tuple(f"class {i}" for i in range(MAX_DRAWN_CLASSES + 1))
    facts = compile_facts(labels=many, confusion=np.eye(len(many), dtype=np.int64))
    card = make_card(facts)
    assert b"<svg" not in card
    assert b"class 24" in card


def test_nasty_names_stay_text() -> None:
    """Names with markup, pipes or line breaks neither start HTML nor a link, and break no table."""
    name = "a|b\n<script>x</script>[y](javascript:z)`*"
    facts = compile_facts(
        inputs=(Port(name, "float32", (1,)),),
        labels=(name, "green", "grey"),
        notes=(name,),
        fallback=name,
        licences=(Stated("the model", "", name), Stated(name, "MIT", "MIT")),
        data=(DataFacts("holdout", name, "0" * 64, 3, {name: 3}, synthetic=True),),
    )
    card = make_card(facts).decode()
    assert "<script" not in card
    assert "](" not in card.replace("\\](", "")
    for table in card.split("\n\n"):
        lines = [line.replace("\\|", "") for line in table.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1


def test_smallest_model_has_a_card_that_admits_it() -> None:
    """A model of tensors without labels, data or confusions gets a card that says what was not shown."""
    facts = compile_facts(
        version=0,
        parent=0,
        labels=(),
        decision="",
        fallback="",
        preprocessing=None,
        data=(),
        notes=(),
        own_text="",
    )
    facts = dataclasses.replace(facts, confusion=np.zeros((0, 0), np.int64))
    card = make_card(facts).decode()
    assert card.startswith("# colours: model card\n")
    assert "no accuracy was measured" in card
    assert "## By class" not in card
    assert "README.md" not in card


def test_accuracy_of_fp32_is_a_gate_where_one_is_set() -> None:
    """The table of gates has a row for fp32's own accuracy only where model.toml sets a limit."""
    assert not [row for row in _rows(compile_facts(), "Gates") if "fp32 itself" in row[0]]
    gates = msgspec.structs.replace(GatesPart(), accuracy=0.8)
    assert ["right decisions of fp32 itself", "at least 80.00%"] in _rows(compile_facts(gates=gates), "Gates")


def test_own_text_is_named_and_not_repeated() -> None:
    """A folder's README.md is linked by name and digest."""
    card = make_card(compile_facts()).decode()
    assert "Its author's own text is `README.md` beside it." in card
    assert "3" * 64 in card


def test_drawn_data_is_a_known_limit() -> None:
    """Where data was drawn, the card says that it shows agreement and not accuracy."""
    drawn = DataFacts("holdout", "drawn from the ports", "0" * 64, 32, synthetic=True)
    assert "The data was drawn, not recorded" in make_card(compile_facts(data=(drawn,))).decode()
