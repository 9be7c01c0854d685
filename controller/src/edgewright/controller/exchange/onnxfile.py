"""One file out of an ONNX model whose weights may lie beside it: another registry keeps large ones apart."""

from pathlib import Path

from edgewright.controller.errors import ExchangeError


def read_whole(path: Path) -> bytes:
    """A model's bytes with all weights inside; as they are where no weight lies beside the file.

    Raises:
        ExchangeError: it is no ONNX model, or a file of weights is missing or outside its folder.
    """
    # Imported here: only this command needs it.
    import onnx
    from onnx.external_data_helper import uses_external_data
    from onnx.onnx_pb import TensorProto

    try:
        model = onnx.load(path, load_external_data=False)
        if not any(uses_external_data(tensor) for tensor in model.graph.initializer):
            return path.read_bytes()
        whole = onnx.load(path)
        for tensor in whole.graph.initializer:
            tensor.data_location = TensorProto.DEFAULT
            del tensor.external_data[:]
        data: bytes = whole.SerializeToString()
        return data
    # The parser raises what its protocol buffers raise, and ValueError for a path outside the folder.
    except Exception as error:
        raise ExchangeError(f"{path.name} cannot be read as an ONNX model: {str(error)[:200]}.") from error
