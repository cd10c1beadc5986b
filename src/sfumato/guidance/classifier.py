"""Classifier guidance (Dhariwal & Nichol 2021): up the gradient of what a classifier of noisy pictures believes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.errors import InputError
from sfumato.solvers.loop import Denoiser

__all__ = ["LogProbability", "check_classifier_scale", "classifier_guidance"]

LogProbability = Callable[[Tensor, float], Tensor]
"""(x_t (N, …), t) -> log p(y|x_t) (N,), differentiable; the pictures of a batch must not influence each other"""


def check_classifier_scale(scale: float) -> float:
    """Return s; raise `InputError` when it is negative or not finite."""
    if not 0 <= scale < float("inf"):
        raise InputError(f"classifier_scale is a number from 0 (no guidance) upwards, not {scale}")
    return scale


def classifier_guidance(
    denoise: Denoiser, log_probability: LogProbability, scale: float, schedule: NoiseSchedule
) -> Denoiser:
    """x̂0' = x̂0 + s·(σ_t²/α_t)·∇ log p(y|x_t), s = `scale`, the gradient with respect to x_t.

    Dhariwal & Nichol 2021, algorithm 2 (eq. 14), where ε̂' = ε̂ - s·σ_t·∇ log p(y|x_t); this is the same with
    x̂0 = (x_t - σ_t·ε̂)/α_t. For an exact classifier, s = 1 turns the denoiser of p(x) into that of p(x|y).

    Where α_t = 0 (t = 1 of a schedule with zero terminal SNR) x_t holds nothing of the picture: the true gradient is 0,
    its factor infinite, and what the product tends to, E[x_0|y] - E[x_0], cannot be had from a gradient there. A
    trained classifier's gradient is not quite 0, and would become an infinity. So there x̂0 stays as it is, and the
    classifier is not called; guidance begins with the next network call.

    Args:
        denoise: what to guide; it may be guided already.
        log_probability: of what is wished for.
        scale: s. 0 is no guidance: `denoise` itself.
        schedule: of the model and of the classifier.

    Raises:
        InputError: for a negative or infinite s.
    """
    if check_classifier_scale(scale) == 0:
        return denoise

    def guided(x: Tensor, t: float) -> Tensor:
        x0, alpha = denoise(x, t), schedule.alpha(t)
        if alpha == 0:
            return x0
        with torch.enable_grad():
            point = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(log_probability(point, t).sum(), point)
        return x0 + scale * schedule.sigma(t) ** 2 / alpha * gradient

    return guided
