from pathlib import Path

import numpy as np
import pytest

from edgewright.agent.runner.runtimes import installed, open_runtime
from edgewright.wire.manifest import RuntimeRange, Tensor
from tests.agent.tflite_model import INPUT_SCALE, INPUT_ZERO_POINT, tflite_bytes
from tests.agent.tiny_models import classify, golden_bytes, make_manifest


@pytest.mark.skipif(not installed("litert"), reason="ai_edge_litert is not installed")
def test_an_integer_input_is_quantised_by_the_models_own_scale(tmp_path: Path) -> None:
    """A model with int8 input takes real values and is off by no more than half a step of its scale."""
    artifact = tflite_bytes(int8_input=True)
    path = tmp_path / "model.tflite"
    path.write_bytes(artifact)
    manifest = make_manifest(
        artifact,
        golden_bytes(),
        runtime=RuntimeRange("litert", "1", "9", "XNNPACK"),
        input=Tensor("x", "int8", (1, 3, 8, 8)),
    )
    session = open_runtime(manifest.runtime).load(path, manifest, threads=1)
    assert session.input_quantisation == pytest.approx((INPUT_SCALE, INPUT_ZERO_POINT))
    inputs = np.random.default_rng(1).random((1, 3, 8, 8), np.float32)
    output = np.empty((1, 3), np.float32)
    session.run_into(inputs, output)
    np.testing.assert_allclose(output, classify(inputs.mean(axis=(1, 2, 3))), atol=20 * INPUT_SCALE / 2)
