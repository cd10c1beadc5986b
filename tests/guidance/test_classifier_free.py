import pytest
import torch

from exact import SCHEDULES, Gaussian, doubles
from labelled import Labelled, tweedie
from sfumato.errors import InputError
from sfumato.guidance.classifier_free import classifier_free
from sfumato.networks.condition import Condition

SCHEDULE = SCHEDULES["cosine"]
MIXTURE = Labelled(SCHEDULE)
LABELS = torch.tensor([[0], [1], [-1]])


def guide(denoise, labels, scale, negative=None, **options):
    """`classifier_free` of a denoiser that takes labels; away from none unless told otherwise."""
    away = torch.full_like(labels, -1) if negative is None else negative
    told = (Condition(labels=labels), Condition(labels=away))
    return classifier_free(lambda x, t, condition: denoise(x, t, condition.labels), *told, scale, **options)


def counting(calls):
    gaussians = {label: Gaussian(SCHEDULE, mean) for label, mean in ((-1, 0.0), (0, -0.8), (1, 0.6))}

    def denoise(x, t, labels):
        calls.append(len(x))
        return torch.stack([gaussians[int(row)].denoise(x[i], t) for i, row in enumerate(labels[:, 0])])

    return denoise


@pytest.mark.parametrize("negative", [None, torch.tensor([[1], [0], [0]])])
def test_a_scale_of_one_is_bit_identical_to_no_guidance_and_costs_one_call(negative):
    calls = []
    denoise = counting(calls)
    x = doubles(3, 4)
    guided = guide(denoise, LABELS, 1.0, negative, rescale=0.7)
    assert torch.equal(guided(x, 0.4), denoise(x, 0.4, LABELS))
    assert calls == [3, 3]


@pytest.mark.parametrize("scale", [0.0, 0.5, 2.0, 7.5])
def test_extrapolates_in_one_call_of_twice_the_size(scale):
    calls = []
    denoise = counting(calls)
    x, plain = doubles(3, 4), counting([])
    guided = guide(denoise, LABELS, scale)(x, 0.4)
    with_label, without = plain(x, 0.4, LABELS), plain(x, 0.4, torch.full_like(LABELS, -1))
    torch.testing.assert_close(guided, without + scale * (with_label - without))
    assert calls == [6]


@pytest.mark.parametrize("scale", [0.0, 0.5, 7.5])
def test_two_calls_give_what_one_call_of_twice_the_size_gives(scale):
    calls = []
    x, negative = doubles(3, 4), torch.tensor([[1], [0], [0]])
    one, two = (
        guide(counting(calls), LABELS, scale, negative, rescale=0.3, together=together)(x, 0.4)
        for together in (True, False)
    )
    assert torch.equal(one, two)
    assert calls == [6, 3, 3]


def test_on_gaussians_guidance_moves_the_mean_by_its_closed_form():
    """For equal variances, uncond + w·(cond - uncond) denoises the Gaussian whose mean is w·m_c + (1-w)·m_u."""
    guided = guide(counting([]), torch.tensor([[1]]), 3.0)
    x = doubles(1, 50)
    torch.testing.assert_close(guided(x, 0.3), Gaussian(SCHEDULE, 3 * 0.6).denoise(x, 0.3))


@pytest.mark.parametrize("t", [0.001, 0.1, 0.4, 0.8])
@pytest.mark.parametrize("label", [0, 1, 2])
def test_on_a_mixture_it_is_the_score_of_the_sharpened_density(t, label):
    """The score of p(x_t)·(p(x_t|y)/p(x_t))^w, from the densities themselves."""
    x, w = doubles(5, 4), 2.5
    guided = guide(MIXTURE.denoise, torch.full((5, 1), label), w)

    def sharpened(x):
        return MIXTURE.log_density(x, t) + w * (MIXTURE.log_density(x, t, label) - MIXTURE.log_density(x, t))

    torch.testing.assert_close(guided(x, t), tweedie(SCHEDULE, sharpened, x, t), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("t", [0.1, 0.4, 0.8])
def test_a_negative_label_takes_the_place_of_none(t):
    """The score of p(x_t|n)·(p(x_t|y)/p(x_t|n))^w, in one call of twice the size."""
    x, w, calls = doubles(3, 4), 2.5, []

    def denoise(x, t, labels):
        calls.append(labels[:, 0].tolist())
        return MIXTURE.denoise(x, t, labels)

    guided = guide(denoise, torch.tensor([[0], [2], [-1]]), w, torch.tensor([[1], [1], [1]]))(x, t)
    assert calls == [[0, 2, -1, 1, 1, 1]]
    for i, label in enumerate((0, 2, -1)):

        def sharpened(x, label=label):
            return (1 - w) * MIXTURE.log_density(x, t, 1) + w * MIXTURE.log_density(x, t, label)

        expected = tweedie(SCHEDULE, sharpened, x[i : i + 1], t)
        torch.testing.assert_close(guided[i : i + 1], expected, rtol=1e-10, atol=1e-10)


def test_labels_equal_to_the_negative_ones_cost_one_call():
    calls = []
    denoise, x = counting(calls), doubles(3, 4)
    for labels, negative in ((LABELS, LABELS), (torch.full((3, 1), -1), None)):
        assert torch.equal(guide(denoise, labels, 4.0, negative)(x, 0.4), denoise(x, 0.4, labels))
    assert calls == [3, 3, 3, 3]


def test_rescale_is_towards_the_half_with_the_label():
    x = doubles(3, 6)
    guided, plain = (guide(MIXTURE.denoise, LABELS, 3.0, rescale=phi)(x, 0.6) for phi in (1.0, 0.0))
    conditional = MIXTURE.denoise(x, 0.6, LABELS)
    torch.testing.assert_close(guided.std(1), conditional.std(1))
    torch.testing.assert_close(guided, plain * (conditional.std(1) / plain.std(1))[:, None])
    assert (plain.std(1) / conditional.std(1) - 1).abs().max() > 0.1  # there was something to bring back


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"scale": -1.0}, "guidance_scale is a number from 0"),
        ({"scale": float("nan")}, "guidance_scale is a number from 0"),
        ({"scale": float("inf")}, "guidance_scale is a number from 0"),
        ({"rescale": 1.5}, "guidance_rescale lies between 0"),
        (
            {"negative": torch.zeros(2, 1, dtype=torch.long)},
            r"labels of two conditions must have one shape, not \(3, 1\) and \(2, 1\)",
        ),
    ],
)
def test_wrong_arguments(how, message):
    with pytest.raises(InputError, match=message):
        guide(MIXTURE.denoise, LABELS, **{"scale": 2.0, **how})
