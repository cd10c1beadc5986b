"""Inpainting and outpainting: what is known stays to the bit, and what is new is made to fit."""

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from factory import NETWORK, model, text_model
from sfumato import solvers
from sfumato.errors import InputError
from sfumato.generation.request import Request
from sfumato.generation.tasks.inpaint import inpaint
from sfumato.generation.tasks.mask import enlarged, pasted, reduced
from sfumato.generation.tasks.times import Resampling
from sfumato.seeds import Stream, noise
from tiny import inpainter, latent_inpainter, latent_model

MODEL = model()


def picture(side=8, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (side, side, channels), np.uint8)


def hole(side=8):
    """A mask with a hole of a quarter of the side, off the middle."""
    mask = np.zeros((side, side), np.uint8)
    mask[side // 4 : side // 2, side // 2 : side - side // 8] = 255
    return mask


@pytest.mark.parametrize("solver", ["unipc-2", "ddpm", "heun", "sde-dpmpp-3m"])
def test_known_pixels_stay_to_the_bit(solver):
    images = inpaint(MODEL, picture(), hole(), 3, request=Request(solver=solver), label="food")
    known = hole() == 0
    for image in images:
        assert np.array_equal(image[known], picture()[known])
    assert len(np.unique(images.array[:, ~known].reshape(3, -1), axis=0)) == 3


@pytest.mark.parametrize("spacing", ["trailing", "leading"])
def test_it_is_the_formula(spacing):
    """The plain loop, with x_t replaced by α_t·known + σ_t·ε before every call, as the papers write it."""
    m, given, new = model(), picture(), torch.from_numpy(hole() > 0)
    schedule, table = m.diffusion.schedule, solvers.get("ddim", MODEL.diffusion.schedule, 6, spacing)
    request = Request(steps=6, solver="ddim", spacing=spacing)
    found = inpaint(m, given, hole(), request=request, seed=2, label="food").array[0]
    known = torch.from_numpy(given).permute(2, 0, 1)[None] / 127.5 - 1
    x = eps = noise([2], (3, 8, 8), Stream.START)
    denoise = m.denoiser(torch.tensor([[0, -1]]))
    for t, s in zip(table.times[:-1].tolist(), table.times[1:].tolist(), strict=True):
        x = torch.where(new, x, schedule.alpha(t) * known + schedule.sigma(t) * eps)
        x0 = denoise(x, t)
        x = schedule.alpha(s) * x0 + schedule.sigma(s) * (x - schedule.alpha(t) * x0) / schedule.sigma(t)
    assert np.abs(found.astype(int) - m.pictures(x)[0])[hole() > 0].max() <= 1


def test_the_network_sees_what_is_known_and_what_is_new_follows_it():
    other = picture(seed=1)
    other[hole() > 0] = picture()[hole() > 0]
    first, second, hidden = (
        inpaint(MODEL, given, hole()).array[0][hole() > 0]
        for given in (picture(), other, np.where(hole()[:, :, None] > 0, np.uint8(9), picture()))
    )
    assert not np.array_equal(first, second)
    assert np.array_equal(first, hidden)  # what was under the mask plays no part …
    shining = inpaint(MODEL, picture(), hole(), strength=0.01, request=Request(steps=3)).array[0][hole() > 0]
    assert np.abs(shining.astype(int) - picture()[hole() > 0]).mean() < 20  # … but at a low strength


@pytest.mark.parametrize("m", [MODEL, inpainter(), latent_model(), latent_inpainter()], ids=lambda m: m.spec.name)
def test_a_picture_alone_is_the_one_in_any_batch(m):
    side = m.spec.size[0]
    request = Request(solver="ddim", options=(("eta", 0.5),))
    make = lambda **how: inpaint(m, picture(side), hole(side), request=request, label="food", **how).array  # noqa: E731
    together = make(n=4, seed=6, batch=3).astype(int)
    assert np.abs(make(seed=9)[0] - together[3]).max() <= 1
    known = hole(side) == 0
    assert all(np.array_equal(image[known], picture(side)[known]) for image in together.astype(np.uint8))


def test_resampling_is_the_table_and_the_calls_are_told():
    m = model()
    calls = []
    m.network.register_forward_pre_hook(lambda module, args: calls.append(float(args[1])))
    images = inpaint(m, picture(), hole(), request=Request(steps=6, solver="ddpm"), resampling=Resampling(3, 2))
    assert len(calls) == 2 + 3 * 4
    assert sum(b > a for a, b in pairwise(calls)) == 4
    task = json.loads(images.metadata[0]["sfumato"])["task"]
    assert task == {"name": "inpaint", "strength": 1.0, "feather": 0, "new": 0.09375, "repeats": 3, "jump": 2}
    short = inpaint(m, picture(), hole(), request=Request(steps=12), strength=0.5, resampling=Resampling(2))
    assert json.loads(short.metadata[0]["sfumato"])["task"]["jump"] == 10
    times = json.loads(short.metadata[0]["sfumato"])["times"]
    assert calls[14:] == pytest.approx([*times[:2], *times[2:12], *times[2:12]])


# ---- latents, and networks made for it -------------------------------------------------------------------------------


def test_a_latent_is_known_where_all_its_pixels_are():
    new = np.zeros((4, 8), bool)
    new[1, 2] = new[3, 7] = True
    expected = [[False, True, False, False], [False, False, False, True]]
    assert reduced(new, 2).tolist() == expected
    assert np.array_equal(reduced(new, 1), new)
    with pytest.raises(InputError, match="nowhere as large as the 4x4 pixels"):
        reduced(new, 4)


def test_among_latents_the_known_ones_are_held():
    """The network sees α_t·z + σ_t·ε where the latent is known, from the first call on, here at t = 0.667."""
    m, seen = latent_model(), []
    m.network.register_forward_pre_hook(lambda module, args: seen.append((args[0].clone(), float(args[1]))))
    mask = np.zeros((16, 16), bool)
    mask[3:9] = True  # latents 1 … 4 of 8
    inpaint(m, picture(16), mask, request=Request(solver="ddim", steps=3, spacing="leading"), seed=1)
    z, eps = m.encoded(picture(16)[None]), noise([1], (4, 8, 8), Stream.START)
    rows = torch.tensor([0, 5, 6, 7])
    assert len(seen) == 3
    for x, t in seen:
        torch.testing.assert_close(x[:, :, rows], m.diffusion.noisy(z, t, eps)[:, :, rows], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("m", "factor"), [(inpainter(), 1), (latent_inpainter(), 2)], ids=["pixels", "latents"])
def test_a_network_made_for_it_sees_noise_mask_and_the_rest_of_the_picture(m, factor):
    seen, side = [], 8 * factor
    hook = m.network.register_forward_pre_hook(
        lambda module, args: seen.append(torch.cat([args[0], args[2].pictures], 1))
    )
    inpaint(m, picture(side), hole(side), 2, request=Request(guidance_scale=2.0), seed=5, label="food")
    hook.remove()
    channels = m.spec.shape()[0]
    first = seen[0][:2]
    assert first.shape[1] == 2 * channels + 1
    assert torch.equal(first[:, :channels], noise([5, 6], (channels, 8, 8), Stream.START))
    mask = torch.from_numpy(hole(side)).reshape(8, factor, 8, factor).amax((1, 3)) / 255
    assert torch.equal(first[:, channels], mask.expand(2, 8, 8))
    grey = np.where(hole(side)[:, :, None] > 0, np.uint8(128), picture(side))
    assert torch.equal(first[:, channels + 1 :], m.encoded(grey[None]).expand(2, -1, -1, -1))
    assert all(len(x) == 4 and torch.equal(x[:2, channels:], x[2:, channels:]) for x in seen)  # guided: both halves


def test_what_a_network_sees_of_the_picture_matters_and_what_is_hidden_does_not():
    m, covered = inpainter(), np.where(hole()[:, :, None] > 0, np.uint8(9), picture())
    first, second, third = (inpaint(m, given, hole()).array[0] for given in (picture(), covered, picture(seed=3)))
    assert np.array_equal(first, second)
    assert not np.array_equal(first[hole() > 0], third[hole() > 0])


def test_networks_with_other_channels_are_told():
    depth = model(network=replace(NETWORK, in_channels=4, out_channels=3, labels=(2, 3)))
    with pytest.raises(InputError, match="sees 4 channels; inpainting knows those that see 3, or 7 with a mask"):
        inpaint(depth, picture(), hole())
    with pytest.raises(InputError, match="sees what is known; leave resampling out"):
        inpaint(inpainter(), picture(), hole(), request=Request(steps=20), resampling=Resampling(2))


# ---- the border of what is new ---------------------------------------------------------------------------------------


def test_a_feather_blends_along_the_distance():
    new = np.zeros((1, 7), bool)
    new[0, 0] = True
    made, given = np.full((1, 1, 7, 1), 200, np.uint8), np.zeros((1, 7, 1), np.uint8)
    assert pasted(made, given, new, 3).flatten().tolist() == [200, 150, 100, 50, 0, 0, 0]
    assert pasted(made, given, new).flatten().tolist() == [200, 0, 0, 0, 0, 0, 0]
    corner = np.zeros((5, 5), bool)
    corner[2, 2] = True
    blended = pasted(np.full((1, 5, 5, 1), 100, np.uint8), np.zeros((5, 5, 1), np.uint8), corner, 1)[0, :, :, 0]
    assert blended.tolist() == [[0] * 5, [0, 50, 50, 50, 0], [0, 50, 100, 50, 0], [0, 50, 50, 50, 0], [0] * 5]


def test_a_feather_hides_the_seam_of_latents():
    m, known = latent_model(), hole(16) == 0
    plain, soft = (inpaint(m, picture(16), hole(16), feather=feather).array[0] for feather in (0, 2))
    assert np.array_equal(plain[~known], soft[~known])
    near = np.pad(~known, 2)
    near = np.any([near[i : i + 16, j : j + 16] for i in range(5) for j in range(5)], axis=0) & known
    assert (soft[near] != picture(16)[near]).any(1).mean() > 0.9
    assert np.array_equal(soft[known & ~near], picture(16)[known & ~near])
    with pytest.raises(InputError, match="there is nothing to feather"):
        inpaint(MODEL, picture(), hole(), feather=2)


def test_outpainting_keeps_the_picture_in_its_place():
    canvas, new = enlarged(picture(), (4, 2, 0, 6))
    assert canvas.shape == (16, 12, 3)
    assert np.array_equal(canvas[2:10, 4:], picture())
    assert np.array_equal(canvas[0, 4:], picture()[0])  # the border is repeated outwards
    assert new.sum() == 16 * 12 - 64
    assert not new[2:10, 4:].any()
    image = inpaint(MODEL, canvas, new).array[0]
    assert np.array_equal(image[2:10, 4:], picture())
    wrong: list[Any] = [(0, 0, 0, 0), (-2, 4, 0, 0), (1.5, 0, 0, 0)]
    for sides in wrong:
        with pytest.raises(InputError, match="outpainting adds pixels on the left, top, right and bottom"):
            enlarged(picture(), sides)
    with pytest.raises(InputError, match=r"a width of 11 does not fit .* Nearest that fit: 10 or 12"):
        inpaint(MODEL, *enlarged(picture(), (3, 0, 0, 0)))


def test_a_picture_says_nothing_of_the_prompt():
    images = inpaint(text_model(), picture(), hole(), prompt="red cat")
    assert "cat" not in json.dumps(images.metadata)
    assert images.metadata[0]["Comment"] == "Generated by an AI model"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask": hole(16)}, "the mask is 16x16, the picture 8x8"),
        ({"mask": hole()[:4]}, "the mask is 8x4, the picture 8x8"),
        ({"mask": np.zeros((8, 8), np.uint8)}, "all black, so nothing is to be made new"),
        ({"mask": np.full((8, 8), 127, np.uint8)}, "all black"),
        ({"mask": np.full((8, 8), 128, np.uint8)}, "all white, so nothing of the picture is kept"),
        ({"mask": hole().astype(float)}, r"a mask must be bool or uint8 \(H, W\), not float64"),
        ({"mask": np.zeros((8, 8, 3), np.uint8)}, r"a mask must be bool or uint8 \(H, W\)"),
        ({"picture": picture(8, 1)}, r"pictures must be uint8 \(N, H, W, 3\)"),
        ({"strength": 0}, "strength is the time"),
        ({"feather": -1}, "feather is a number of pixels"),
        ({"feather": 1.5}, "feather is a number of pixels"),
        ({"resampling": Resampling(2, 4)}, "a jump of 4 of 4 steps leaves nothing to repeat"),
        ({"resampling": Resampling(2, 1), "request": Request(solver="tuned")}, "table 'tuned' has its own times"),
        ({"seed": 2**63}, "a seed is a whole number"),
    ],
)
def test_bad_input(changes, message):
    with pytest.raises(InputError, match=message):
        inpaint(MODEL, **{"picture": picture(), "mask": hole(), **changes})


def test_a_jump_without_repeats_is_told():
    with pytest.raises(InputError, match="a jump of 5 does nothing without repeats"):
        Resampling(jump=5)
