"""How much each step forgets: β_1 … β_T of a discrete diffusion, float64 in (0, 1]. β = 1 forgets everything."""

from __future__ import annotations

import numpy as np

from sfumato.diffusion.schedule import MAX_STEPS
from sfumato.errors import InputError

__all__ = ["check_betas", "cosine", "linear", "mutual_information"]


def linear(steps: int, start: float = 1e-4, end: float = 2e-2) -> np.ndarray:
    """β grows linearly (Ho et al. 2020). Austin et al. 2021 give it to the discretised Gaussian, where β is a width:
    see `Chain.gaussian`; for uniform kernels they go from 0.02 to 1.
    """
    return check_betas(np.linspace(start, end, _steps(steps)))


def cosine(steps: int, offset: float = 0.008) -> np.ndarray:
    """Π(1 - β) ∝ cos((t + s)/(1 + s)·π/2), for uniform kernels (Hoogeboom et al. 2021, "Argmax flows and multinomial
    diffusion"). The last β is 1 (there it is held at 0.999): after it nothing is left of the data.
    """
    u = (np.arange(_steps(steps) + 1) / steps + offset) / (1 + offset)
    kept = np.sin((1 - u) * np.pi / 2)  # cos(u·π/2), and 0 exactly at the end
    return check_betas(1 - kept[1:] / kept[:-1])


def mutual_information(steps: int) -> np.ndarray:
    """β_t = 1/(T - t + 1): each step forgets the same share 1/T of the data, Π(1 - β) = 1 - t/T, and the last all that
    is left (Sohl-Dickstein et al. 2015, section 2.4.1). With absorbing kernels the information that a value keeps about
    itself falls in a straight line, hence the name (Austin et al. 2021).
    """
    return 1 / np.arange(_steps(steps), 0, -1, dtype=np.float64)


def check_betas(betas: np.ndarray) -> np.ndarray:
    """(T,) float64; raises `InputError` unless all are in (0, 1]."""
    values = np.asarray(betas, np.float64)
    if values.ndim != 1 or len(values) == 0 or not ((values > 0) & (values <= 1)).all():
        raise InputError("β_1 … β_T are a list of at least one number, each above 0 and at most 1")
    return values


def _steps(steps: int) -> int:
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or not 1 <= steps <= MAX_STEPS:
        raise InputError(f"a chain has a whole number of steps from 1 to {MAX_STEPS:,}, not {steps!r}")
    return int(steps)
