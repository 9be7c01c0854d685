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

    from edgewright.controller.compiler.sources.onnxgraph import outer_files

    try:
        onnx.load(path, load_external_data=False)
        data = path.read_bytes()
        # Weights may be apart in any graph and in attributes; loading brings all of them inside.
        return onnx.load(path).SerializeToString() if outer_files(data) else data
    # The parser raises what its protocol buffers raise, and ValueError for a path outside the folder.
    except Exception as error:
        raise ExchangeError(f"{path.name} cannot be read as an ONNX model: {str(error)[:200]}.") from error
