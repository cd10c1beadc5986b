"""Randomness as a function, not a state: the same (seed, picture, stream, step) always gives the same numbers.

The generator is counter-based (Philox-4x64, Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"):
the key is (seed, picture), the counter holds the stream (what the numbers are for) and the step. A picture's noise
therefore depends neither on its batch, nor on the device, nor on what was drawn before: there is nothing to save.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

from sfumato.errors import InputError

__all__ = ["MAX_SEED", "Stream", "check_seed", "generator", "noise", "noise_of_steps", "permutation", "torch_seed"]

MAX_SEED = 2**63 - 1


class Stream(IntEnum):
    """What random numbers are for. Streams never overlap, so a new use takes a new number and disturbs no old one."""

    START = 0  # the noise that sampling starts from
    STEP = 1  # fresh noise within sampling
    TRAIN_NOISE = 2
    TRAIN_CHOICE = 3  # label dropout, flips
    ORDER = 4  # in which order the pictures of an epoch come
    LAYERS = 5  # dropout masks
    WEIGHTS = 6  # initial weights
    LABEL = 7  # labels drawn for a sample that names none
    SPLIT = 8  # halves of a data set
    HELD_OUT = 9  # noise on pictures that training keeps back
    CAPTION = 10  # what is said of a picture
    LATENT = 11  # which latent of its posterior stands for a picture
    RESAMPLE = 12  # which pictures an interval draws
    LIKELIHOOD = 13  # noise, probes and dequantisation of likelihoods
    CROP = 14  # which rectangle of a picture is kept


def check_seed(seed: int) -> int:
    """Return `seed`; raise `InputError` unless it is a whole number from 0 to 2⁶³ - 1."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed <= MAX_SEED:
        raise InputError(f"a seed is a whole number from 0 to 2**63 - 1, not {seed!r}")
    return int(seed)


def generator(seed: int, picture: int, stream: Stream, step: int = 0) -> np.random.Generator:
    """The random numbers of one (seed, picture, stream, step)."""
    fresh = np.random.Generator(np.random.Philox(0))
    _aim(fresh, seed, picture, stream, step)
    return fresh


def noise(
    seeds: Sequence[int | tuple[int, int]], shape: Sequence[int], stream: Stream = Stream.START, step: int = 0
) -> Tensor:
    """Standard normal noise, a row for each picture.

    Args:
        seeds: one entry a picture: its seed, or a pair (seed, picture) where a seed stands for many pictures.
        shape: of one picture, such as (C, H, W).
        stream, step: what the noise is for.

    Returns:
        (N, *shape) float32 on the CPU, where it is always made, so that every device sees the same noise.
    """
    return noise_of_steps(seeds, shape, stream, [step])[0]


def noise_of_steps(
    seeds: Sequence[int | tuple[int, int]], shape: Sequence[int], stream: Stream, steps: Sequence[int]
) -> Tensor:
    """The `noise` of several steps at once: (len(steps), N, *shape). For small pictures that is much cheaper."""
    values = np.empty((len(steps), len(seeds), *shape), np.float32)
    reused, number = _reused(), int(stream)
    keys = [seed if isinstance(seed, tuple) else (seed, 0) for seed in seeds]
    for block, step in zip(values, steps, strict=True):
        for row, (seed, picture) in zip(block, keys, strict=True):
            _aim(reused, seed, picture, number, step)
            reused.standard_normal(out=row, dtype=np.float32)
    return torch.from_numpy(values)


def _aim(target: np.random.Generator, seed: int, picture: int, stream: int, step: int) -> None:
    """Set a generator to the beginning of one stream. All of its state is overwritten: what it drew before is gone."""
    # the low 128 bits of the counter are the position in the stream: 2¹²⁸ numbers before two streams would meet
    words = {"counter": (0, 0, stream, step), "key": (seed, picture)}
    target.bit_generator.state = {
        "bit_generator": "Philox",
        "state": words,
        "buffer": (0, 0, 0, 0),
        "buffer_pos": 4,  # empty
        "has_uint32": 0,
        "uinteger": 0,
    }


_local = threading.local()


def _reused() -> np.random.Generator:
    """This thread's generator, to be aimed before every use: making one costs more than a small picture's noise."""
    if not hasattr(_local, "generator"):
        _local.generator = np.random.Generator(np.random.Philox(0))
    return _local.generator


def permutation(count: int, seed: int, stream: Stream, epoch: int = 0) -> np.ndarray:
    """A permutation of 0 … count - 1 as a pure function of its arguments (int64)."""
    bits = generator(seed, epoch, stream).bit_generator.random_raw(count)
    return np.argsort(bits, kind="stable")


def torch_seed(seed: int, number: int, stream: Stream) -> int:
    """A seed for torch's global generator, where its layers draw: initial weights, dropout masks."""
    return int(generator(seed, number, stream).bit_generator.random_raw()) % 2**63
