import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from factory import model as unsaved
from measuring import dataset, saved
from sfumato.data.dataset import Dataset
from sfumato.errors import DivergedError, InputError
from sfumato.evaluation.denoising import loss_by_time
from sfumato.evaluation.method import RealSet
from tiny import inpainter

MEAN, STD = np.linspace(100, 150, 8 * 8 * 3).reshape(8, 8, 3), 25.0


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("model") / "m", dataset())


def gaussian(count=300):
    """Pictures whose values are drawn on their own, each around a mean of its own (and rounded)."""
    values = (MEAN + np.random.default_rng(1).normal(0, STD, (count, 8, 8, 3))).round().clip(0, 255)
    return Dataset("gaussian", values.astype(np.uint8), np.zeros((count, 0), np.int64))


def test_the_trivial_denoiser_has_the_error_that_is_told_of_it(model, monkeypatch):
    """On Gaussian data it is the best there is: x̂0 = E[x_0|x_t], written here from precisions, errs by the variance."""
    data, schedule = gaussian(), model.diffusion.schedule
    variance = (STD / 127.5) ** 2
    mean = torch.from_numpy(MEAN / 127.5 - 1).permute(2, 0, 1)

    def posterior_mean(x, t, condition):
        alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
        precision = 1 / variance + alpha**2 / sigma**2
        return (mean / variance + alpha * x / sigma**2) / precision

    monkeypatch.setattr(model, "denoised", posterior_mean)
    found = loss_by_time(model, data, np.arange(len(data)), chosen="all", training=False)
    assert len(found.errors) == 20
    for i, error in enumerate(found.errors):
        assert error.t == pytest.approx((i + 0.5) / 20 + 1 / 1000, abs=1e-9)
        assert error.trivial == pytest.approx(error.error.value, rel=0.02)
        assert error.error.low < error.error.value < error.error.high
        alpha, sigma = float(schedule.alpha(error.t)), float(schedule.sigma(error.t))
        assert error.error.value == pytest.approx(1 / (1 / variance + alpha**2 / sigma**2), rel=0.02)


def test_it_says_whose_and_of_what(model):
    data, calls = dataset(10), []
    rows = np.array([7, 2, 5])
    found = loss_by_time(
        model, data, rows, chosen="drawn", training=True, progress=lambda done, of: calls.append((done, of))
    )
    assert found.pictures == RealSet.of(data, rows, "drawn", True)
    assert (found.told, found.model, found.weights_sha256) == (
        "its labels: group, style",
        "tiny",
        model.spec.weights.sha256,
    )
    assert calls == [(3 * i, 60) for i in range(1, 21)]
    assert all(error.error.n == (3,) and error.error.method == "percentile" for error in found.errors)


def test_a_pictures_noise_is_its_own(model, monkeypatch):
    data = dataset(10)
    seen = {}

    def remember(x, t, condition):
        seen.setdefault(round(t, 6), []).append(x.clone())
        return torch.zeros_like(x)

    monkeypatch.setattr(model, "denoised", remember)
    loss_by_time(model, data, np.array([4, 9]), chosen="all", training=False)
    loss_by_time(model, data, np.array([9, 0, 1]), chosen="all", training=False)
    loss_by_time(model, data, np.array([9, 0]), chosen="all", training=False, seed=1)
    for one, other, reseeded in seen.values():
        assert torch.equal(one[1], other[0])
        assert not torch.allclose(reseeded[0], other[0], atol=1e-4)


def test_what_has_no_loss(tmp_path, model, monkeypatch):
    with pytest.raises(InputError, match="never saved"):
        loss_by_time(unsaved(), dataset(4), np.arange(4), chosen="all", training=False)
    filling = inpainter()
    monkeypatch.setattr(filling, "spec", replace(filling.spec, weights=model.spec.weights))
    with pytest.raises(InputError, match="fills in parts"):
        loss_by_time(filling, dataset(4), np.arange(4), chosen="all", training=False)


def test_a_network_that_diverges_is_named_with_its_time(model, monkeypatch):
    monkeypatch.setattr(model, "denoised", lambda x, t, condition: x * math.nan)
    with pytest.raises(DivergedError, match=r"at t = 0.026"):
        loss_by_time(model, dataset(4), np.arange(4), chosen="all", training=False)
