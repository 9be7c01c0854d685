"""Archives of arrays that are damaged or hostile: each ends as one error, and none is taken at its word."""

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgewright.controller.compiler.arrays import LARGEST_ARRAYS_BYTES, BadArraysError, read_arrays
from edgewright.controller.compiler.frames import read_frames
from edgewright.controller.compiler.sources.reading import read_subject
from edgewright.controller.errors import ModelTomlError, TensorDataError
from edgewright.controller.model_tensors import (
    InputPart,
    TensorDataPart,
    TensorModelPart,
    TensorSpec,
    write_tensor_model,
)
from edgewright.controller.model_toml import FILE_NAME
from tests.controller.source_graphs import linear

VALUES = np.random.default_rng(0).normal(size=(6, 1, 4)).astype(np.float32)


def _plain(values: NDArray[Any] = VALUES) -> bytes:
    out = io.BytesIO()
    np.save(out, values)
    return out.getvalue()


def _packed(member: bytes, method: int = zipfile.ZIP_STORED, name: str = "x.npy") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr(name, member)
    return out.getvalue()


def _announced(shape: tuple[int, ...], descr: str = "<f4", rest: bytes = b"") -> bytes:
    """An array whose header says one thing and whose bytes are another."""
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": descr, "fortran_order": False, "shape": shape})
    return _packed(out.getvalue() + rest)


def _header(text: bytes) -> bytes:
    return _packed(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text + b"\n")


def _changed(change: Callable[[bytearray, int], None], method: int = zipfile.ZIP_STORED) -> bytes:
    """An archive with bytes changed; ``change`` is given where its directory begins."""
    data = bytearray(_packed(_plain(), method))
    change(data, data.rfind(b"PK\x01\x02"))
    return bytes(data)


def _encrypt(data: bytearray, directory: int) -> None:
    data[6] |= 1
    data[directory + 8] |= 1


def _unknown_method(data: bytearray, directory: int) -> None:
    data[8] = data[directory + 10] = 99


def _damage(data: bytearray, directory: int) -> None:
    data[60:90] = b"\xff" * 30
    assert directory > 90


def _flip_a_value(data: bytearray, directory: int) -> None:
    data[directory - 1] ^= 1


BAD: dict[str, bytes] = {
    "a plain array": _plain(),
    "nothing": b"",
    "a shape that no memory holds": _announced((1 << 40, 1, 4), rest=b"\0" * 64),
    "a shape whose product overflows": _announced((1 << 62, 1 << 62)),
    "many empty rows": _announced((1 << 40, 0)),
    "many empty texts": _announced((1 << 40,), "<U0"),
    "a negative size": _announced((-4, 4)),
    "more values than bytes": _announced((6, 1, 4), rest=b"\0" * 8),
    "objects": _announced((6,), "|O", b"\0" * 48),
    "records": _header(b"{'descr':[('a','<f4')],'fortran_order':False,'shape':(1,)}"),
    "a deep header": _header(
        b"{'descr':'<f4','fortran_order':False,'shape':" + b"(" * 3000 + b")" * 3000 + b"}"
    ),
    "a header of signs": _header(b"-" * 9000 + b"1"),
    "an empty type": _header(b"{'descr':(),'fortran_order':False,'shape':(1,)}"),
    "too many axes": _announced((1,) * 80, rest=b"\0" * 4),
    "a version of the future": _packed(b"\x93NUMPY\x09\x00" + _plain()[8:]),
    "no header": _packed(b"hello"),
    "an encrypted member": _changed(_encrypt),
    "an unknown method": _changed(_unknown_method),
    "LZMA, whose own header takes memory": _packed(_plain(), zipfile.ZIP_LZMA),
    "a damaged stream": _changed(_damage, zipfile.ZIP_DEFLATED),
    "another checksum": _changed(_flip_a_value),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_archive_is_one_error(what: str, tmp_path: Path) -> None:
    """Whatever is wrong with the file is one error with a sentence."""
    path = tmp_path / "data.npz"
    path.write_bytes(BAD[what])
    with pytest.raises(BadArraysError) as caught:
        read_arrays(path)
    assert str(caught.value)


@pytest.mark.parametrize("what", BAD)
def test_bad_data_have_their_numbers(what: str, tmp_path: Path) -> None:
    """Frames end as error 73 and tensors as error 125."""
    inputs = (InputPart(name="x", dtype="float32", shape=(1, 4)),)
    data = TensorDataPart(calibration="c.npz", holdout="h.npz")
    part = TensorModelPart(name="net", file="net.onnx", licence="MIT")
    spec = TensorSpec(targets=("x86_64-ort-cpu",), model=part, inputs=inputs, data=data)
    (tmp_path / FILE_NAME).write_bytes(write_tensor_model(spec))
    (tmp_path / "net.onnx").write_bytes(linear().SerializeToString())
    np.savez(tmp_path / "h.npz", x=VALUES)
    (tmp_path / "c.npz").write_bytes(BAD[what])
    with pytest.raises(TensorDataError):
        read_subject(tmp_path)
    with pytest.raises(ModelTomlError):
        read_frames(tmp_path / "c.npz")


def test_arrays_read_as_numpy_reads_them(tmp_path: Path) -> None:
    """Orders of axes, element types, texts, single numbers and empty arrays are what NumPy's reader gives."""
    path = tmp_path / "data.npz"
    arrays: dict[str, NDArray[Any]] = {
        "x": VALUES,
        "columns first": np.asfortranarray(np.arange(12).reshape(3, 4)),
        "big": VALUES.astype(">f8"),
        "labels": np.array(["red", "grün"]),
        "one": np.array(3.5),
        "none": np.empty((0, 3), np.int8),
        "flags": np.array([True, False]),
    }
    for save in (np.savez, np.savez_compressed):
        save(path, **arrays)  # type: ignore[arg-type]  # NumPy's stub takes every name for `allow_pickle`
        found = read_arrays(path)
        assert set(found) == set(arrays)
        for name, values in arrays.items():
            assert found[name].dtype == values.dtype
            np.testing.assert_array_equal(found[name], values)


def test_all_arrays_together_have_a_limit(tmp_path: Path) -> None:
    """Arrays that fit one by one are refused where they do not fit together; nothing of them is stored."""
    path = tmp_path / "data.npz"
    size = LARGEST_ARRAYS_BYTES // 4
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "|u1", "fortran_order": False, "shape": (size, 0)})
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(5):
            archive.writestr(f"{number}.npy", out.getvalue())
    with pytest.raises(BadArraysError, match="take more than 4 GiB"):
        read_arrays(path)


ODD_FRAMES: dict[str, dict[str, NDArray[Any]]] = {
    "labels without an axis": {"labels": np.array("a"), "frames": np.zeros((1, 4, 4, 3), np.uint8)},
    "ends of text": {"labels": np.array(["a"]), "jpeg": np.zeros(4, np.uint8), "ends": np.array(["4"])},
    "ends that fall": {
        "labels": np.array(["a", "b"]),
        "jpeg": np.zeros(4, np.uint8),
        "ends": np.array([8, 4], np.uint64),
    },
    "pictures of fractions": {"labels": np.array(["a"]), "jpeg": np.zeros(1), "ends": np.array([8])},
    "no picture at all": {"labels": np.array(["a"]), "jpeg": np.zeros(8, np.uint8), "ends": np.array([8])},
}


@pytest.mark.parametrize("what", ODD_FRAMES)
def test_odd_frames_have_their_number(what: str, tmp_path: Path) -> None:
    """Sound arrays that are no frames are error 73."""
    path = tmp_path / "frames.npz"
    np.savez(path, **ODD_FRAMES[what])  # type: ignore[arg-type]  # NumPy's stub, as above
    with pytest.raises(ModelTomlError):
        read_frames(path)
