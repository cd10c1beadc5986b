import pytest
import torch

from exact import SCHEDULES, doubles
from sfumato.diffusion.prediction import PREDICTIONS, from_x0, to_eps, to_x0
from sfumato.diffusion.process import Diffusion
from sfumato.errors import InputError


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("t", [0.001, 0.3, 0.77, 1.0])
def test_a_perfect_output_gives_the_picture_back(name, prediction, t):
    schedule = SCHEDULES[name]
    if prediction == "eps" and schedule.terminal_snr == 0:
        with pytest.raises(InputError, match="zero terminal SNR"):
            Diffusion(schedule, "eps")
        return
    diffusion = Diffusion(schedule, prediction)
    x0, eps = doubles(2, 3, 4, 4), doubles(2, 3, 4, 4, seed=1)
    xt = diffusion.noisy(x0, t, eps)
    if prediction == "v" and schedule.alpha(t) == 0:
        torch.testing.assert_close(diffusion.target(x0, t, eps), -x0)  # v at pure noise is the picture
    torch.testing.assert_close(diffusion.denoised(diffusion.target(x0, t, eps), xt, t), x0, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(to_eps(x0, xt, schedule.alpha(t), schedule.sigma(t)), eps, rtol=1e-7, atol=1e-7)


def test_v_is_a_rotation():
    """(x_t, v) is (x_0, ε) turned by the angle φ with cos φ = α: the inverse is the turn back (Salimans & Ho 2022)."""
    x0, eps = doubles(5), doubles(5, seed=1)
    alpha, sigma = 0.8, 0.6
    turn = torch.tensor([[alpha, sigma], [-sigma, alpha]], dtype=torch.float64)
    xt, v = turn @ torch.stack([x0, eps])
    torch.testing.assert_close(from_x0("v", x0, eps, alpha, sigma), v)
    back_x0, back_eps = turn.T @ torch.stack([xt, v])
    torch.testing.assert_close(to_x0("v", v, xt, alpha, sigma), back_x0)
    torch.testing.assert_close(to_eps(back_x0, xt, alpha, sigma), back_eps)


def test_unknown_prediction_names_the_nearest():
    with pytest.raises(InputError, match="Did you mean 'eps'"):
        Diffusion(SCHEDULES["linear"], "epsilon")  # type: ignore[arg-type]
