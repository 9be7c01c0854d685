"""Sounds for the zoo's feeds, from a seeded generator: speech-like voices, music, what a wake word hears.

A voice is a train of glottal pulses through three resonances (formants) that change from syllable to
syllable, with pauses and breath noise: Klatt's synthesiser (1980, JASA 67) at its plainest. Music is struck
notes with partials that decay. Samples are float32 in -1 to 1.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

Samples = NDArray[np.float32]

_VOWELS_HZ: Final = (
    (730, 1090, 2440),
    (270, 2290, 3010),
    (300, 870, 2240),
    (530, 1840, 2480),
    (570, 840, 2410),
)
"""Formants of five vowels of men, Peterson and Barney (1952), hertz."""

_BANDWIDTHS_HZ: Final = (80, 110, 160)
_MELS: Final = 40
_WAKE_RATE: Final = 16_000
_WAKE_HOP: Final = 160


def speech(rng: np.random.Generator, seconds: float, rate: int) -> Samples:
    """Syllables and pauses of one speaker, with noise of the room."""
    pitch, parts, length = rng.uniform(90, 230), [], 0
    while length < seconds * rate:
        pause = rng.random() < 0.25
        count = int(rate * (rng.uniform(0.15, 0.6) if pause else rng.uniform(0.12, 0.3)))
        parts.append(np.zeros(count) if pause else _syllable(rng, count, rate, pitch))
        length += count
    voice = np.concatenate(parts)[: int(seconds * rate)]
    noise = rng.normal(0, 10 ** rng.uniform(-3.5, -2), len(voice))
    return (voice * rng.uniform(0.1, 0.6) + noise).astype(np.float32)


def music(rng: np.random.Generator, count: int, rate: int) -> Samples:
    """Notes of a scale, alone and in chords."""
    sound = rng.normal(0, 1e-3, count)
    for _ in range(rng.integers(4, 14)):
        start = int(rng.integers(0, count * 3 // 4))
        time = np.arange(count - start) / rate
        pitch = 440 * 2 ** ((int(rng.integers(36, 90)) - 69) / 12)
        for partial in range(1, 7):
            decay = np.exp(-time * rng.uniform(1.0, 4.0) * partial**0.5)
            sound[start:] += 0.2 / partial * decay * np.sin(2 * np.pi * pitch * partial * time)
    return (sound / max(1.0, float(np.abs(sound).max()))).astype(np.float32)


def wake_features(rng: np.random.Generator, steps: int) -> NDArray[np.int8]:
    """Features of a stream, int8 ``[steps, 3, 40]``: log energies of 40 mel bands, each step 30 ms."""
    hops = steps * 3
    sound = speech(rng, (hops * _WAKE_HOP + 480) / _WAKE_RATE, _WAKE_RATE)
    frames = np.lib.stride_tricks.sliding_window_view(sound, 480)[::_WAKE_HOP][:hops]
    power = np.abs(np.fft.rfft(frames * np.hanning(480), 512)) ** 2
    energy = np.log1p(1e4 * power @ _mel_bank(257, 125, 7500, _WAKE_RATE).T)
    steps_of_scale = np.clip(np.rint(energy / 10 * 255), 0, 255)
    return (steps_of_scale - 128).astype(np.int8).reshape(steps, 3, _MELS)


def _syllable(rng: np.random.Generator, count: int, rate: int, pitch: float) -> NDArray[np.float64]:
    phase = np.cumsum(pitch * rng.uniform(0.85, 1.2) * np.linspace(1.05, 0.92, count) / rate)
    source = np.diff(np.floor(phase), prepend=0.0) + rng.normal(0, 0.02, count)
    for centre, width in zip(_VOWELS_HZ[rng.integers(len(_VOWELS_HZ))], _BANDWIDTHS_HZ, strict=True):
        radius, angle = np.exp(-np.pi * width / rate), 2 * np.pi * centre / rate
        source = lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], source)
    burst = rng.normal(0, 0.3, count) * np.exp(-np.arange(count) / (0.02 * rate))
    shaped = source / (np.abs(source).max() + 1e-9) + burst
    return np.asarray(shaped * np.hanning(count) ** 0.5)


def _mel_bank(bins: int, low: float, high: float, rate: int) -> NDArray[np.float64]:
    def mel(hertz: float) -> float:
        return 2595 * float(np.log10(1 + hertz / 700))

    edges = 700 * (10 ** (np.linspace(mel(low), mel(high), _MELS + 2) / 2595) - 1)
    at = np.linspace(0, rate / 2, bins)[np.newaxis, :]
    left, centre, right = (edges[i : i + _MELS, np.newaxis] for i in range(3))
    return np.clip(np.minimum((at - left) / (centre - left), (right - at) / (right - centre)), 0, None)
