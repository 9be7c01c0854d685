"""Any ONNX file is brought to one form, or refused by a number and a sentence that says what to do."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewright.controller.compiler.ort import Session
from edgewright.controller.compiler.sources.onnxfile import Source, read_onnx
from edgewright.controller.compiler.subject import Port
from edgewright.controller.errors import (
    InputShapeError,
    NotAModelError,
    OpenShapeError,
    TensorTypeError,
    UnknownOperatorError,
)
from edgewright.controller.model_tensors import InputPart
from edgewright.wire.errors import EdgewrightError
from tests.controller.source_graphs import accumulator, branching, linear, model, value


def _read(made: onnx.ModelProto, *declared: InputPart, beside: Path | None = None) -> Source:
    return read_onnx(made.SerializeToString(), declared, beside)


def _x(*shape: int, dtype: str = "float32") -> InputPart:
    return InputPart(name="x", dtype=dtype, shape=shape)


def test_an_open_batch_stays_open_where_examples_do_not_change_each_other() -> None:
    """A linear layer takes many examples in one call; the port is declared with a batch of one."""
    source = _read(linear(), _x(1, 4))
    assert source.batches
    assert source.inputs == (Port("x", "float32", (1, 4)),)
    assert source.outputs == (Port("y", "float32", (1, 3)),)
    assert Session(source.model).inputs[0].shape == (None, 4)


def test_a_batch_is_closed_where_examples_change_each_other() -> None:
    """A mean over all examples gives something else together than one by one, so calls stay single."""
    mean = helper.make_node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1)
    less = helper.make_node("Sub", ["x", "m"], ["y"])
    source = _read(model([mean, less], [value("x", ("n", 4))], [value("y", ("n", 4))]), _x(1, 4))
    assert not source.batches
    assert Session(source.model).inputs[0].shape == (1, 4)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(TensorProto.FLOAT16, "float16"), (TensorProto.DOUBLE, "float64"), (TensorProto.INT32, "int32")],
)
def test_tensor_models_keep_their_element_types(kind: int, dtype: str) -> None:
    """float16, float64 and integer ports come out as they are in the file."""
    source = _read(linear(kind=kind), _x(1, 4, dtype=dtype))
    assert {port.dtype for port in (*source.inputs, *source.outputs)} == {dtype}


def test_weights_on_the_list_of_inputs_are_no_inputs() -> None:
    """An initializer that is listed as an input stays a constant, and a note says so."""
    made = linear()
    made.graph.input.append(value("w", (4, 3)))
    source = _read(made, _x(1, 4))
    assert [port.name for port in source.inputs] == ["x"]
    assert any("have a value in the file" in note for note in source.notes)


def test_names_that_toolchains_cannot_take_are_mapped() -> None:
    """Spaces and letters beyond ASCII in ports' names become plain; names of two stay apart."""
    node = helper.make_node("Add", ["größe in m", "größe+in m"], ["out put"])
    inputs = [value("größe in m", (1, 2)), value("größe+in m", (1, 2))]
    source = _read(model([node], inputs, [value("out put", (1, 2))]))
    names = [port.name for port in (*source.inputs, *source.outputs)]
    assert all(name.isascii() and " " not in name for name in names)
    assert len(set(names)) == 3
    assert source.names["out put"] == "out_put"
    assert Session(source.model).inputs[0].name == names[0]


def test_every_node_gets_a_name_of_its_own() -> None:
    """Nameless and equally named nodes can be told apart afterwards, those of branches too."""
    made = branching()
    twice = _read(made)
    graph = onnx.load_model_from_string(twice.model).graph
    inner = [item.g for item in graph.node[0].attribute]
    names = [node.name for part in (graph, *inner) for node in part.node]
    assert all(names)
    assert len(set(names)) == len(names) == 3


def test_branches_read_tensors_of_the_outer_graph() -> None:
    """A model with an If and a boolean input runs as it did."""
    source = _read(branching())
    feeds = {"x": np.full((2, 1, 4), 3, np.float32), "flag": np.array([True, False])}
    found = Session(source.model).run_calls(feeds)["y"]
    assert found[:, 0, 0].tolist() == [6.0, 9.0]


def test_old_operator_sets_are_converted_where_outputs_stay_the_same() -> None:
    """A file of operator set 9 comes out in 17 and computes the same."""
    node = helper.make_node("Unsqueeze", ["h"], ["y"], axes=[1])
    made = model(
        [helper.make_node("Relu", ["x"], ["h"]), node], [value("x", (1, 4))], [value("y", (1, 1, 4))], opset=9
    )
    source = _read(made)
    assert onnx.load_model_from_string(source.model).opset_import[0].version == 17
    assert any("operator set 9 was converted to 17" in note for note in source.notes)
    rows = np.linspace(-1, 1, 4, dtype=np.float32).reshape(1, 1, 4)
    assert (
        Session(source.model).run_calls({"x": rows})["y"].ravel().tolist()
        == np.maximum(rows, 0).ravel().tolist()
    )


def test_functions_of_a_file_are_inlined() -> None:
    """Operators that the file itself defines become ONNX's own."""
    body = [helper.make_node("Mul", ["a", "a"], ["b"])]
    own = helper.make_function("mine", "Square", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    made = model(
        [helper.make_node("Square", ["x"], ["y"], domain="mine")], [value("x", (1, 2))], [value("y", (1, 2))]
    )
    made.functions.append(own)
    made.opset_import.append(helper.make_opsetid("mine", 1))
    graph = onnx.load_model_from_string(_read(made).model)
    assert [node.op_type for node in graph.graph.node] == ["Mul"]
    assert not graph.functions


def test_weights_beside_the_file_are_brought_in(tmp_path: Path) -> None:
    """A file with weights of its own beside it becomes one file that computes the same."""
    onnx.save_model(
        linear(), tmp_path / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0
    )
    data = (tmp_path / "m.onnx").read_bytes()
    source = read_onnx(data, (_x(1, 4),), tmp_path)
    rows = np.ones((1, 1, 4), np.float32)
    expected = Session(linear().SerializeToString()).run_calls({"x": rows})["y"]
    assert np.array_equal(Session(source.model).run_calls({"x": rows})["y"], expected)
    with pytest.raises(NotAModelError, match="export them into the ONNX file"):
        read_onnx(data, (_x(1, 4),))
    (tmp_path / "m.bin").unlink()
    with pytest.raises(NotAModelError, match=r"m\.bin"):
        read_onnx(data, (_x(1, 4),), tmp_path)


def test_weights_outside_the_folder_are_not_read(tmp_path: Path) -> None:
    """A file that names weights in another folder is refused, whatever lies there."""
    inner = tmp_path / "inner"
    inner.mkdir()
    onnx.save_model(
        linear(), tmp_path / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0
    )
    made = onnx.load_model(tmp_path / "m.onnx", load_external_data=False)
    made.graph.initializer[0].external_data[0].value = "../m.bin"
    with pytest.raises(NotAModelError, match="weights lie in another file"):
        _read(made, _x(1, 4), beside=inner)


def test_a_quantised_model_is_known_as_one() -> None:
    """A model with stored integers is marked, so that nobody quantises it again."""
    weights = {"w": np.ones((4, 3), np.int8), "s": np.float32(0.1), "z": np.int8(0)}
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wf"]),
        helper.make_node("MatMul", ["x", "wf"], ["y"]),
    ]
    assert _read(model(nodes, [value("x", (1, 4))], [value("y", (1, 3))], weights)).quantised
    assert not _read(linear(), _x(1, 4)).quantised


def test_reading_twice_gives_the_same_bytes() -> None:
    """The canonical form depends on the file alone, and reading it again does not change it."""
    once = _read(accumulator())
    again = _read(onnx.load_model_from_string(once.model))
    assert once.model == _read(accumulator()).model == again.model


def _sequence() -> onnx.ModelProto:
    made = model(
        [helper.make_node("SequenceConstruct", ["x", "x"], ["y"])], [value("x", (1, 2))], [value("y", (1,))]
    )
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    made.graph.output[0].CopyFrom(helper.make_value_info("y", helper.make_sequence_type_proto(tensor)))
    return made


def _random() -> onnx.ModelProto:
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["n"]),
        helper.make_node("Add", ["x", "n"], ["y"]),
    ]
    return model(nodes, [value("x", (1, 64))], [value("y", (1, 64))])


def _data_dependent() -> onnx.ModelProto:
    where = helper.make_node("NonZero", ["r"], ["y"])
    return model(
        [helper.make_node("Round", ["x"], ["r"]), where],
        [value("x", (1, 64))],
        [value("y", (2, None), TensorProto.INT64)],
    )


def _inner_unknown() -> onnx.ModelProto:
    made = branching()
    made.graph.node[0].attribute[1].g.node[0].op_type = "Frobnicate"
    return made


def _bad_name() -> onnx.ModelProto:
    return model([helper.make_node("Relu", ["x"], ["y"])], [value("x", (1, 2))], [value("z", (1, 2))])


def _half_brain() -> onnx.ModelProto:
    made = linear()
    made.graph.input[0].type.tensor_type.elem_type = TensorProto.BFLOAT16
    return made


REFUSALS: list[tuple[Callable[[], onnx.ModelProto], tuple[InputPart, ...], type[EdgewrightError], str]] = [
    (_sequence, (), TensorTypeError, "output 'y' is no tensor but of the type sequence"),
    (_random, (), UnknownOperatorError, "draws random numbers"),
    (_data_dependent, (), InputShapeError, "change their size from call to call"),
    (_inner_unknown, (), UnknownOperatorError, "Frobnicate"),
    (_bad_name, (), UnknownOperatorError, "cannot load"),
    (_half_brain, (), TensorTypeError, "bfloat16"),
    (linear, (), OpenShapeError, r"input 'x' has an open size \(axis 0, batch\)"),
    (lambda: linear(None), (), OpenShapeError, "how many axes"),
    (linear, (_x(1, 5),), InputShapeError, r"\[any, 4\], not \[1, 5\]"),
    (linear, (_x(1, 4, dtype="int8"),), InputShapeError, "has the type float32, not int8"),
    (
        linear,
        (InputPart(name="u", dtype="float32", shape=(1, 4)),),
        InputShapeError,
        "no input 'u'; it has 'x'",
    ),
    (lambda: model([], [value("x", (1,))], [value("x", (1,))]), (), NotAModelError, "no operators"),
]


@pytest.mark.parametrize(("make", "declared", "error", "words"), REFUSALS)
def test_what_cannot_be_compiled_is_refused_with_a_sentence(
    make: Callable[[], onnx.ModelProto],
    declared: tuple[InputPart, ...],
    error: type[EdgewrightError],
    words: str,
) -> None:
    """Each has its own number, names what is wrong, and stands on one line."""
    with pytest.raises(error, match=words) as caught:
        _read(make(), *declared)
    assert type(caught.value) is error
    assert "\n" not in caught.value.sentence


def test_a_name_that_is_no_text_is_refused() -> None:
    """Protobuf reads names that are no UTF-8 as bytes; such a file is damaged."""
    data = linear().SerializeToString().replace(b"MatMul", b"Mat\xfful")
    with pytest.raises(NotAModelError, match="a name in it is no text"):
        read_onnx(data, (_x(1, 4),))


def test_a_constant_stored_outside_counts_as_a_weight() -> None:
    """Weights that lie in another file are found in attributes of nodes, too."""
    made = linear()
    tensor = numpy_helper.from_array(np.ones(3, np.float32), "c")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "elsewhere.bin"
    made.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))
    with pytest.raises(NotAModelError, match="weights lie in another file"):
        _read(made, _x(1, 4))
