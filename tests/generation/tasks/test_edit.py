"""Picture to picture: where it starts, how many calls are made, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from exact import Gaussian
from factory import NETWORK, model, text_model
from sfumato import solvers
from sfumato.diffusion.config import ScheduleConfig
from sfumato.errors import InputError
from sfumato.generation.request import Request
from sfumato.generation.tasks.edit import edit
from sfumato.generation.tasks.times import begun
from sfumato.seeds import Stream, noise
from sfumato.solvers import SPACINGS
from tiny import latent_model

MODEL = model()


def picture(side=8, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (side, side, channels), np.uint8)


def calls(m):
    """The times of the network calls that a model makes from now on."""
    known = []
    m.network.register_forward_pre_hook(lambda module, args: known.append(float(args[1])))
    return known


@pytest.mark.parametrize("spacing", SPACINGS)
def test_all_steps_are_done_below_the_start(spacing):
    """20 steps at strength 0.5 are 20 network calls, the first at t = 0.5 (leading: below it)."""
    m = model()
    known = calls(m)
    edit(m, picture(), 0.5, request=Request(steps=20, solver="ddim", spacing=spacing))
    assert len(known) == 20
    assert known == sorted(known, reverse=True)
    assert known[0] == 0.5 if spacing != "leading" else 0.45 < known[0] < 0.5
    assert known[-1] >= 1 / 1000 - 1e-12


def test_an_end_at_the_least_noise_is_kept():
    times = begun(MODEL, Request(steps=3, spacing="trailing", end="sigma-min"), 0.6).times
    assert times is not None
    assert np.asarray(times) == pytest.approx([0.6, 0.4, 0.2, 0.001])


def test_it_is_the_formula():
    """x_t = α_t·x_0 + σ_t·ε with the start noise of the seed, then the solver over times that fall from t."""
    m, given, t = model(), picture(), 0.7
    request = Request(steps=5, solver="dpmpp-2m", spacing="trailing", clip=False)
    found = edit(m, given, t, 2, request=request, seed=4, label="food").array
    schedule, x0 = m.diffusion.schedule, torch.from_numpy(given).permute(2, 0, 1)[None] / 127.5 - 1
    x = schedule.alpha(t) * x0 + schedule.sigma(t) * noise([4, 5], (3, 8, 8), Stream.START)
    table = solvers.get("dpmpp-2m", schedule, times=[0.7, 0.56, 0.42, 0.28, 0.14, 0.0])
    denoise = m.denoiser(torch.tensor([[0, -1]] * 2), clip=False)
    assert np.abs(found.astype(int) - m.pictures(solvers.solve(denoise, x, table))).max() <= 1


@pytest.mark.parametrize("spacing", ["trailing", "leading", "visible"])
def test_strength_one_is_the_plain_sample(spacing):
    for m in (MODEL, model(schedule=ScheduleConfig("linear", 1000, zero_terminal_snr=False))):
        request = Request(steps=6, spacing=spacing)
        plain = m.sample(2, steps=6, spacing=spacing, seed=3, label="food").array
        assert np.array_equal(edit(m, picture(), 1.0, 2, request=request, seed=3, label="food").array, plain)


def test_the_lower_the_strength_the_nearer_to_the_picture():
    distances = [
        np.abs(edit(MODEL, picture(), strength, 4).array.astype(int) - picture()).mean()
        for strength in (0.005, 0.1, 0.4, 0.9)
    ]
    assert distances == sorted(distances)
    assert distances[0] < 4


def test_its_law_on_gaussian_data_is_the_flows():
    """The forward process, then the exact flow back: mean and variance follow from those of x_t."""
    m = model()
    truth, t, pixel = Gaussian(m.diffusion.schedule), 0.6, 200
    m.denoiser = lambda asked, *args, **named: truth.denoise  # type: ignore[method-assign]
    request = Request(steps=60, solver="dpmpp-2m", clip=False)
    made = edit(m, np.full((8, 8, 3), pixel, np.uint8), t, 128, request=request).array / 127.5 - 1
    x0 = pixel / 127.5 - 1
    alpha, sigma = m.diffusion.schedule.alpha(t), m.diffusion.schedule.sigma(t)
    centre, variance = truth.marginal(t)
    shrink = truth.std / variance**0.5  # the flow: (x - its mean)/its std stays
    mean, std = truth.mean + shrink * (alpha * x0 - centre), shrink * sigma
    assert np.median(made) == pytest.approx(mean, abs=0.02)
    low, high = np.quantile(made, [0.25, 0.75])  # of pictures, whose values end at ±1
    assert (high - low) / 1.349 == pytest.approx(std, rel=0.03)


@pytest.mark.parametrize("solver", ["unipc-2", "ddpm"])
def test_a_variation_alone_is_the_one_in_any_batch(solver):
    request = Request(solver=solver)
    together = edit(MODEL, picture(), 0.6, 5, request=request, seed=10, label="food", batch=2).array.astype(int)
    for i in (0, 3, 4):
        alone = edit(MODEL, picture(), 0.6, request=request, seed=10 + i, label="food").array[0]
        assert np.abs(alone - together[i]).max() <= 1
    assert len(np.unique(together.reshape(5, -1), axis=0)) == 5


def test_latent_and_text_models():
    m = latent_model()
    assert edit(m, picture(16), 0.5, 2).array.shape == (2, 16, 16, 3)
    reader = text_model()
    red, blue, none = (edit(reader, picture(), 0.8, prompt=prompt).array for prompt in ("red cat", "blue apple", None))
    assert not np.array_equal(red, blue)
    assert np.array_equal(none, edit(reader, picture(), 0.8, prompt="").array)


def test_what_is_not_given_is_no_label():
    plain = edit(MODEL, picture(), 0.8)
    assert np.array_equal(plain.array, edit(MODEL, picture(), 0.8, label="none").array)
    assert json.loads(plain.metadata[0]["sfumato"])["label"] == ["none"]


def test_a_picture_says_what_was_done_without_prompt():
    images = edit(text_model(), picture(), 0.5, 2, prompt="red cat", request=Request(steps=3), seed=9)
    facts = json.loads(images.metadata[1]["sfumato"])
    assert images.metadata[1]["Comment"] == "Generated by an AI model"
    assert facts["task"] == {"name": "edit", "strength": 0.5}
    assert (facts["seed"], facts["size"]) == (10, [8, 8])
    assert len(facts["times"]) == 4
    assert facts["times"][0] == 0.5
    assert "cat" not in json.dumps(images.metadata)


def test_progress_and_sizes():
    done = []
    images = edit(MODEL, picture()[:4], 0.5, 5, batch=2, progress=done.append)
    assert images.array.shape == (5, 4, 8, 3)
    assert done == [2, 4, 5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strength": 0}, r"strength is the time to start from, above 0 .*, not 0"),
        ({"strength": 1.2}, "not 1.2"),
        ({"strength": float("nan")}, "not nan"),
        ({"strength": True}, "not True"),
        ({"strength": 0.0005}, "leaves no step"),
        ({"strength": 0.01}, "steps must be a whole number from 1 to 10 .the schedule's steps up to 0.01"),
        ({"picture": picture(9)}, "a height of 9 does not fit .* Nearest that fit: 8 or 10"),
        ({"picture": picture(8, 1)}, r"pictures must be uint8 \(N, H, W, 3\)"),
        ({"picture": picture().astype(np.float32)}, "pictures must be uint8"),
        ({"picture": picture()[0]}, r"a picture must be uint8 \(H, W, C\), not uint8 \(8, 3\)"),
        ({"request": Request(size=(16, 16))}, "the picture is 8x8, the size asked for 16x16"),
        ({"request": Request(times=[0.7, 0.3, 0])}, "own times begin where they begin, at 0.7"),
        ({"request": Request(solver="tuned")}, "tuned"),
        ({"seed": -1}, "a seed is a whole number"),
        ({"seed": 2**63 - 1, "n": 2}, "a seed is a whole number"),
        ({"n": 0}, "number of pictures"),
        ({"label": "fod"}, "Did you mean 'food'"),
        ({"prompt": "a cat"}, "reads no prompts"),
        ({"batch": 0}, "batch must be at least 1"),
    ],
)
def test_bad_input(changes, message):
    how = {"picture": picture(), "strength": 0.5, "request": Request(steps=20), **changes}
    with pytest.raises(InputError, match=message):
        edit(MODEL, **how)


def test_a_grey_model_takes_no_colour():
    grey = model(network=replace(NETWORK, in_channels=1, labels=(2, 3)))
    assert edit(grey, picture(8, 1), 0.5).array.shape == (1, 8, 8, 1)
    with pytest.raises(InputError, match=r"\(N, H, W, 1\), not uint8 \(1, 8, 8, 3\)"):
        edit(grey, picture(), 0.5)


def test_a_table_of_ones_own_has_no_other_start():
    table = solvers.get("ddim", MODEL.diffusion.schedule, steps=3)
    with pytest.raises(InputError, match="table 'ddim' has its own times"):
        begun(MODEL, Request(solver=table), 0.5)
    assert begun(MODEL, Request(solver=table), 1) == Request(solver=table)
