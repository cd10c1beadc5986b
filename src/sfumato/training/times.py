"""At which times a network is trained. Each is a function of a picture's fraction, which is uniform on [0, 1).

The fractions of consecutive pictures are evenly spread (`batches`), and so are therefore their times, by whatever law:
every batch sees all noise levels, none twice by chance (stratified times; Kingma et al. 2021).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sfumato.diffusion.schedule import NoiseSchedule

__all__ = ["continuous", "log_normal", "on_steps", "unit"]


def on_steps(fraction: np.ndarray, steps: int) -> Tensor:
    """Each of 1/T … 1 equally often (Ho et al. 2020, algorithm 1), exactly. `fraction`: (N,) uint64, of 2⁶⁴."""
    return torch.tensor([(int(f) * steps // 2**64 + 1) / steps for f in fraction], dtype=torch.float64)


def continuous(fraction: np.ndarray, steps: int) -> Tensor:
    """Uniform from 1, the noise, down to 1/T, the least noise of the schedule."""
    return 1 - (1 - 1 / steps) * unit(fraction)


def log_normal(fraction: np.ndarray, schedule: NoiseSchedule, mean: float, std: float) -> Tensor:
    """Times where log(σ/α) is normal (Karras et al. 2022, table 1: mean -1.2, std 1.2).

    What lies beyond the schedule's last noise level is put there: of EDM's, at σ = 80, that is 2 in a million.
    """
    log_noise = mean + std * torch.special.ndtri(unit(fraction).clamp(min=2.0**-53))
    return schedule.time((-2 * log_noise).clamp(min=max(float(schedule.log_snr_knots[-1]), -LEAST)))


LEAST = 100.0  # log-SNR of what is called pure noise, where it is -inf


def unit(fraction: np.ndarray) -> Tensor:
    """(N,) float64 in [0, 1), rounded down."""
    return torch.from_numpy((fraction >> np.uint64(11)).astype(np.float64) * 2.0**-53)
