"""RePaint's tables: where they go, that going up is the forward process, and that any solver can be resampled."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from exact import SCHEDULES, Gaussian, doubles
from sfumato import solvers
from sfumato.diffusion.forward import transition
from sfumato.errors import InputError
from sfumato.seeds import Stream, noise_of_steps
from sfumato.solvers.resampling import repaint

SCHEDULE = SCHEDULES["cosine-zsnr"]
TIMES = [1.0, 0.8, 0.6, 0.4, 0.2, 0.0]


def test_the_times_by_hand():
    """Stretches of two, counted from the data; the first, from pure noise, once."""
    table = repaint("ddim", SCHEDULE, TIMES, jump=2, repeats=3)
    assert table.times.tolist() == [1.0, *[0.8, 0.6] * 3, *[0.4, 0.2] * 3, 0.0]
    assert (table.steps, table.calls) == (13, 13)
    assert np.flatnonzero(table.S).tolist() == [2, 4, 8, 10]  # the ends of all stretches but the last ones
    assert table.name == "ddim, 2 steps 3 times"
    one = repaint("ddim", SCHEDULE, TIMES, jump=1, repeats=2)
    assert one.times.tolist() == [1.0, 0.8, 0.8, 0.6, 0.6, 0.4, 0.4, 0.2, 0.2, 0.0]


def test_one_repeat_is_the_plain_way():
    plain = solvers.get("ddim", SCHEDULE, times=TIMES, eta=0.5)
    again = repaint("ddim", SCHEDULE, TIMES, jump=2, repeats=1, eta=0.5)
    for key in ("times", "X", "D", "S"):
        assert np.array_equal(getattr(plain, key), getattr(again, key)), key


def test_the_loop_written_out():
    """DDIM down (Song et al. 2021, eq. 12), one draw of q(x_t | x_s) up, with the noise of the row that goes up."""
    truth, seeds, x = Gaussian(SCHEDULE), [7, 8], doubles(2, 3)
    table = repaint("ddim", SCHEDULE, TIMES, jump=2, repeats=2)
    found = solvers.solve(truth.denoise, x, table, seeds)
    call = 0

    def down(x, times):
        nonlocal call
        for t, s in pairwise(times):
            x0 = truth.denoise(x, t)
            eps = (x - SCHEDULE.alpha(t) * x0) / SCHEDULE.sigma(t)
            x, call = SCHEDULE.alpha(s) * x0 + SCHEDULE.sigma(s) * eps, call + 1
        return x

    def up(x, s, t):
        alpha, sigma = transition(SCHEDULE, s, t) if s else (SCHEDULE.alpha(t), SCHEDULE.sigma(t))
        return alpha * x + sigma * noise_of_steps(seeds, (3,), Stream.STEP, [call - 1])[0]

    x = down(x, [1.0, 0.8])
    x = down(up(down(x, [0.8, 0.6, 0.4]), 0.4, 0.8), [0.8, 0.6, 0.4])
    x = down(up(down(x, [0.4, 0.2, 0.0]), 0.0, 0.4), [0.4, 0.2, 0.0])
    torch.testing.assert_close(found, x, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["heun", "dpmpp-2m", "unipc-3", "sde-dpmpp-2m", "plms", "er-sde-2"])
def test_without_anything_known_the_law_stays_that_of_the_data(name):
    """Down and up again leads from the data's law to the data's law: mean and variance of Gaussian data come out."""
    truth = Gaussian(SCHEDULE)
    times = SCHEDULE.time(np.linspace(SCHEDULE.log_snr(0.999), SCHEDULE.log_snr(0.002), 60))
    table = repaint(name, SCHEDULE, [*times, 0.0], jump=12, repeats=3)
    centre, variance = truth.marginal(float(table.times[0]))
    start = centre + math.sqrt(variance) * doubles(1, 40_000)
    x = solvers.solve(truth.denoise, start, table, [3])
    assert x.mean() == pytest.approx(truth.mean, abs=0.02)
    assert x.std() == pytest.approx(truth.std, rel=0.02)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"jump": 0}, "jump is a whole number from 1 to 1000, not 0"),
        ({"jump": 1.5}, "jump is a whole number"),
        ({"repeats": 0}, "repeats is a whole number from 1 to 1000"),
        ({"repeats": True}, "repeats is a whole number"),
        ({"jump": 5}, "a jump of 5 of 5 steps leaves nothing to repeat"),
        ({"name": "edm", "s_churn": 80.0}, "solver 'edm' goes back up itself"),
        ({"name": "dddim"}, "Did you mean 'ddim'"),
        ({"eta": 2}, "eta lies between"),
        ({"times": [0.2, 0.4, 0.8], "eta": 0.5, "jump": 1}, "times must fall"),
    ],
)
def test_bad_input(changes, message):
    how = {"name": "ddim", "schedule": SCHEDULE, "times": TIMES, "jump": 2, "repeats": 2, **changes}
    with pytest.raises(InputError, match=message):
        repaint(**how)
