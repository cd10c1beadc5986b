import pytest
import torch

from exact import SCHEDULES, Gaussian, doubles
from sfumato.guidance.classifier_free import classifier_free

LABELS = torch.tensor([[0], [1], [-1]])


def counting(calls):
    gaussians = {label: Gaussian(SCHEDULES["cosine"], mean) for label, mean in ((-1, 0.0), (0, -0.8), (1, 0.6))}

    def denoise(x, t, labels):
        calls.append(len(x))
        return torch.stack([gaussians[int(row)].denoise(x[i], t) for i, row in enumerate(labels[:, 0])])

    return denoise


def test_a_scale_of_one_is_bit_identical_to_no_guidance_and_costs_one_call():
    calls = []
    denoise = counting(calls)
    x = doubles(3, 4)
    assert torch.equal(classifier_free(denoise, LABELS, 1.0)(x, 0.4), denoise(x, 0.4, LABELS))
    assert calls == [3, 3]


@pytest.mark.parametrize("scale", [0.0, 0.5, 2.0, 7.5])
def test_extrapolates_in_one_call_of_twice_the_size(scale):
    calls = []
    denoise = counting(calls)
    x, plain = doubles(3, 4), counting([])
    guided = classifier_free(denoise, LABELS, scale)(x, 0.4)
    with_label, without = plain(x, 0.4, LABELS), plain(x, 0.4, torch.full_like(LABELS, -1))
    torch.testing.assert_close(guided, without + scale * (with_label - without))
    assert calls == [6]


def test_on_gaussians_guidance_moves_the_mean_by_its_closed_form():
    """For equal variances, uncond + w·(cond - uncond) denoises the Gaussian whose mean is w·m_c + (1-w)·m_u."""
    guided = classifier_free(counting([]), torch.tensor([[1]]), 3.0)
    x = doubles(1, 50)
    torch.testing.assert_close(guided(x, 0.3), Gaussian(SCHEDULES["cosine"], 3 * 0.6).denoise(x, 0.3))
