import pytest
import torch

from exact import SCHEDULES, doubles
from labelled import Labelled, tweedie
from sfumato.errors import InputError
from sfumato.guidance.autoguidance import autoguidance

SCHEDULE = SCHEDULES["cosine"]
LABELS = torch.tensor([[0], [2], [-1]])
STRONG = Labelled(SCHEDULE)
WEAK = Labelled(SCHEDULE, mean=(-0.6, 0.0, 0.6), std=(0.6, 0.9, 0.5))


def denoiser(mixture, calls, name):
    def denoise(x, t):
        calls.append(name)
        return mixture.denoise(x, t, LABELS)

    return denoise


@pytest.mark.parametrize("t", [0.001, 0.3, 0.8])
@pytest.mark.parametrize("w", [0.0, 0.5, 2.0, 3.5])
def test_is_the_score_of_the_density_sharpened_by_the_weaker_one(t, w):
    """The score of p_weak·(p_strong/p_weak)^w, from the densities themselves; each model is called once."""
    x, calls = doubles(3, 4), []
    guided = autoguidance(denoiser(STRONG, calls, "strong"), denoiser(WEAK, calls, "weak"), w)(x, t)
    assert sorted(calls) == ["strong", "weak"]
    for i, label in enumerate((0, 2, -1)):

        def sharpened(x, label=label):
            return (1 - w) * WEAK.log_density(x, t, label) + w * STRONG.log_density(x, t, label)

        expected = tweedie(SCHEDULE, sharpened, x[i : i + 1], t)
        torch.testing.assert_close(guided[i : i + 1], expected, rtol=1e-10, atol=1e-10)


def test_a_scale_of_one_is_the_strong_model_alone():
    x, calls = doubles(3, 4), []
    guided = autoguidance(denoiser(STRONG, calls, "strong"), denoiser(WEAK, calls, "weak"), 1.0, rescale=0.5)
    assert torch.equal(guided(x, 0.4), STRONG.denoise(x, 0.4, LABELS))
    assert calls == ["strong"]


def test_rescale_is_towards_the_strong_model():
    x = doubles(3, 40)
    strong, weak = denoiser(STRONG, [], ""), denoiser(WEAK, [], "")
    torch.testing.assert_close(autoguidance(strong, weak, 3.0, 1.0)(x, 0.4).std(1), strong(x, 0.4).std(1))
    assert (autoguidance(strong, weak, 3.0)(x, 0.4).std(1) / strong(x, 0.4).std(1) - 1).abs().max() > 0.1


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"scale": -1.0}, "guidance_scale is a number from 0"),
        ({"scale": float("nan")}, "guidance_scale is a number from 0"),
        ({"rescale": -0.1}, "guidance_rescale lies between 0"),
    ],
)
def test_wrong_arguments(how, message):
    with pytest.raises(InputError, match=message):
        autoguidance(denoiser(STRONG, [], ""), denoiser(WEAK, [], ""), **{"scale": 2.0, **how})
