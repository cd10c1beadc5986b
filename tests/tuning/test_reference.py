from itertools import pairwise

import numpy as np
import torch

from factory import model as tiny_model
from sfumato.generation.request import Request
from sfumato.tuning.reference import reference_of

MODEL = tiny_model()


def test_is_the_models_own_fine_trajectory():
    seeds = [5, 6, 7]
    reference = reference_of(MODEL, seeds, fine_steps=12, batch=2)
    steps = list(MODEL.trajectory(seeds, None, Request(12, "dpmpp-2m", "log-snr")))
    assert reference.states.shape == (13, 3, 3, 8, 8)
    torch.testing.assert_close(reference.result, steps[-1].x, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(reference.states[1:], torch.stack([s.x for s in steps]), atol=1e-4, rtol=1e-4)
    t = float(reference.times[3])
    torch.testing.assert_close(reference.denoise(reference.states[3], t), steps[3].denoised, atol=1e-4, rtol=1e-4)
    changes = [(b.denoised - a.denoised).square().mean().sqrt().item() for a, b in pairwise(steps)]
    np.testing.assert_allclose(np.diff(reference.changed)[:-1], changes, rtol=0.05)  # RMS over batches of 2 and 1


def test_the_error_is_a_root_mean_square():
    reference = reference_of(MODEL, [1, 2], fine_steps=4)
    away = reference.result.clone()
    away[0] += 0.3
    assert abs(reference.error(away) - 0.3 / 2**0.5) < 1e-6


def test_guidance_scale_is_the_models_unless_given():
    default = MODEL.spec.sampling.guidance_scale
    plain, same, guided = (reference_of(MODEL, [1], scale, fine_steps=4) for scale in (None, default, 3.0))
    assert torch.equal(plain.result, same.result)
    assert not torch.equal(plain.result, guided.result)
    assert (plain.guidance_scale, guided.guidance_scale) == (default, 3.0)
