"""The network of garment-packing: six 3x3 convolutions, one 1x1 to a 256-wide embedding, a linear head.

It is sized for one core of a cell computer: 18 million multiply-adds, 0.23 million weights. Batch
normalisation exists only in training; the exporter folds it into the convolutions.
"""

import torch
from torch import nn

EMBEDDING = 256
# (channels, stride) of the 3x3 convolutions, from 64x64x3 down to 8x8x96.
LAYERS = ((16, 2), (32, 2), (64, 1), (64, 2), (96, 1), (96, 1))


def _layer(inputs: int, outputs: int, stride: int, kernel: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class GarmentNet(nn.Module):
    """float32 [n, 3, 64, 64] to logits [n, classes]."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for channels, stride in LAYERS:
            layers.append(_layer(width, channels, stride, 3))
            width = channels
        layers.append(_layer(width, EMBEDDING, 1, 1))
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(EMBEDDING, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits of a batch of preprocessed frames."""
        logits: torch.Tensor = self.head(self.features(image))
        return logits
