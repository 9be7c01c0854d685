"""Whether a model makes sense of its data: planted faults of labels, preprocessing and calibration."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from edgewright.controller.compiler.benches.ort_bench import OrtBench
from edgewright.controller.compiler.sanity import check_calibration, check_sense, readings
from edgewright.controller.compiler.subject import NO_TRUTHS, Outputs, Port, Subject
from edgewright.controller.errors import GateFailedError
from edgewright.controller.model_toml import GatesPart
from tests.controller.compiler_graphs import matching_subject, pictures

SUBJECT = matching_subject()


def _check(subject: Subject) -> tuple[str, ...]:
    bench = OrtBench("CPUExecutionProvider")
    reference = bench.outputs(subject.model, subject.holdout)
    return check_sense(subject, reference, lambda feeds: bench.outputs(subject.model, feeds))


def _shown(images: NDArray[np.float32]) -> Subject:
    return replace(SUBJECT, holdout={"image": np.ascontiguousarray(images)})


def test_a_sound_model_makes_sense() -> None:
    """A model that decides rightly passes without a remark."""
    assert _check(SUBJECT) == ()


def test_swapped_labels_are_named() -> None:
    """Two labels that changed places are refused by name."""
    swapped = SUBJECT.truths.copy()
    swapped[SUBJECT.truths == 0], swapped[SUBJECT.truths == 2] = 2, 0
    with pytest.raises(GateFailedError, match=r"'north' for 'south', 'south' for 'north'\. With these"):
        _check(replace(SUBJECT, truths=swapped))


@pytest.mark.parametrize(
    ("axes", "words"),
    [("transposed", "height and width exchanged"), ("flipped", "upside down"), ("colours", "other order")],
)
def test_a_wrong_picture_is_named(axes: str, words: str) -> None:
    """Pictures on their side, upside down or with other colours are refused with what fits better."""
    images, truths = pictures(120, seed=2, noise=4.0)
    wrong = {
        "transposed": images.swapaxes(3, 4),
        "flipped": images[:, :, :, ::-1],
        "colours": images[:, :, ::-1],
    }
    with pytest.raises(GateFailedError, match=words):
        _check(replace(_shown(wrong[axes]), truths=truths))


def test_another_layout_is_named() -> None:
    """Numbers that lie channels last and are read channels first are refused."""
    images = SUBJECT.holdout["image"]
    with pytest.raises(GateFailedError, match="channels at the other end"):
        _check(_shown(np.moveaxis(images, 2, 4).reshape(images.shape)))


def test_chance_is_refused() -> None:
    """Labels that have nothing to do with the pictures are refused, and nothing is proposed."""
    shuffled = np.random.default_rng(3).permutation(SUBJECT.truths)
    with pytest.raises(GateFailedError, match="no better than chance"):
        _check(replace(SUBJECT, truths=shuffled))


def test_always_the_same_is_chance() -> None:
    """A model that always names the frequent class is right on three of four calls, and refused."""
    truths = np.where(np.arange(120) < 30, 1, 0).astype(np.intp)

    def constant(rows: int) -> Outputs:
        logits = np.zeros((rows, 1, 4), np.float32)
        logits[..., 0] = 1
        return {"logits": logits}

    with pytest.raises(GateFailedError, match="averaged over 2 classes"):
        check_sense(
            replace(SUBJECT, truths=truths), constant(120), lambda feeds: constant(len(feeds["image"]))
        )


HONEST: dict[str, tuple[list[int], list[int], bool]] = {
    "a rare class with one call, missed": ([0] * 100 + [1], [0] * 101, False),
    "two rare classes with one call each, missed": ([0] * 40 + [1, 2], [0] * 38 + [1, 1, 0, 0], False),
    "a defect that is found in three of ten": ([0] * 90 + [1] * 10, [0] * 97 + [1] * 3, True),
    "a class that the holdout does not have": (
        [0] * 20 + [1] * 20,
        [0, 0, 0, 2] * 5 + [1, 1, 1, 2] * 5,
        True,
    ),
    "two calls a class": ([0, 0, 1, 1, 2, 2, 3, 3] * 4, [0, 1, 1, 2, 2, 3, 3, 3] * 4, True),
    "two rare classes, each taken for the other": ([0] * 40 + [1, 1, 2, 2], [0] * 40 + [2, 2, 1, 1], False),
    "a detector: mostly nothing, four things found in half": (
        [0] * 100 + [1, 2, 3, 3] * 4,
        [0] * 100 + [1, 0, 3, 0] * 4,
        True,
    ),
    "a new class of five calls, none found": (
        [0] * 60 + [1] * 60 + [2] * 5,
        [0] * 60 + [1] * 65,
        True,
    ),
    "a second class of five calls, none found": ([0] * 60 + [1] * 5, [0] * 65, False),
    "fifteen calls each of two classes, 63 %": ([0] * 15 + [1] * 15, [0] * 9 + [1] * 16 + [0] * 5, False),
}


@pytest.mark.parametrize("what", HONEST)
def test_an_honest_model_is_not_refused(what: str) -> None:
    """What is imbalanced, sparse or weak passes; where chance cannot be ruled out, a sentence says so."""
    true, said, told = HONEST[what]

    def decide(rows: int) -> Outputs:
        return {"logits": np.eye(4, dtype=np.float32)[said[:rows]][:, np.newaxis]}

    truths, values = np.array(true, np.intp), np.zeros((len(true), 1, 3, 8, 9), np.float32)
    subject = replace(SUBJECT, truths=truths, holdout={"image": values}, calibration={"image": values})
    # Every reading gives the same decisions: this is about decisions alone.
    rows = np.linspace(0, len(true) - 1, min(len(true), 64)).astype(int)
    few = {"logits": decide(len(true))["logits"][rows]}
    notes = check_sense(subject, decide(len(true)), lambda _feeds: few)
    assert any("do not tell whether" in note for note in notes) == (not told)


def test_the_declared_accuracy_is_held() -> None:
    """A model below the accuracy that model.toml declares is refused, however few calls there are."""
    few = replace(SUBJECT, truths=np.where(np.arange(120) < 5, (SUBJECT.truths + 1) % 4, -1))
    with pytest.raises(GateFailedError, match="asks for 90"):
        _check(replace(few, gates=GatesPart(accuracy=0.9)))


def test_few_calls_accuse_nobody() -> None:
    """With five labelled calls, all wrong, and with none, a sentence says that nothing was checked."""
    few = replace(SUBJECT, truths=np.where(np.arange(120) < 5, (SUBJECT.truths + 1) % 4, -1))
    assert _check(few) == ("Sense was not checked: only 5 calls have a true label.",)
    assert "no true labels" in _check(replace(SUBJECT, truths=NO_TRUTHS))[0]


def test_doubtful_calibration_data_are_named() -> None:
    """Saturated calibration pictures, and ones that show too little, are both said."""
    images = SUBJECT.calibration["image"]
    pinned = replace(SUBJECT, calibration={"image": np.clip(100 * images, -1, 1)})
    assert [sentence for sentence in check_calibration(pinned) if "saturated" in sentence]
    narrow = replace(SUBJECT, calibration={"image": images / 100})
    assert [sentence for sentence in check_calibration(narrow) if "outside" in sentence]


@pytest.mark.parametrize("shape", [(1, 3, 4, 6), (1, 4, 6, 3)])
def test_the_other_layout_is_undone_by_itself(shape: tuple[int, ...]) -> None:
    """Taking pictures for the other layout and back gives the pictures, whatever the layout."""
    values = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    other = dict(readings(Port("image", "float32", shape), values))["the channels at the other end"]
    assert other.shape == values.shape
    assert sorted(other.ravel()) == sorted(values.ravel())
    assert not np.array_equal(other, values)
