"""Between two prompts with one noise, and between two noises with one prompt."""

import json

import numpy as np
import pytest
import torch

from factory import model, text_model
from sfumato.errors import InputError
from sfumato.generation.guidance import Guidance
from sfumato.generation.request import Request
from sfumato.generation.tasks.between import between_prompts, between_seeds, mixed
from sfumato.networks.condition import Condition
from sfumato.solvers.inversion import slerp
from tiny import latent_model

READER, MODEL = text_model(), model()


def far(a, b):
    return np.abs(a.astype(int) - b).max()


# ---- prompts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["unipc-2", "ddpm"])
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_the_ends_are_the_pictures_of_the_prompts(solver, scale):
    request = Request(solver=solver, guidance_scale=scale)
    images = between_prompts(READER, "red cat", "blue apple, noto style", 4, request=request, seed=5, batch=3)
    for image, prompt in ((images[0], "red cat"), (images[3], "blue apple, noto style")):
        plain = READER.sample(1, seed=5, prompt=prompt, solver=solver, guidance_scale=scale)
        assert far(image, plain[0]) <= 1
    assert len(np.unique(images.array.reshape(4, -1), axis=0)) == 4


def test_what_the_network_is_told_is_mixed_token_by_token():
    a, b = torch.arange(6.0).reshape(3, 2), 10 + torch.arange(6.0).reshape(3, 2)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    told = mixed(Condition(context=torch.stack([a, b]), mask=mask), [0.0, 0.25, 1.0])
    assert told.context is not None
    assert told.mask is not None
    assert told.mask.tolist() == [[True, True, False], [True, True, False], [True, False, False]]
    assert torch.equal(told.context[0, :2], a[:2])
    assert torch.equal(told.context[2, :1], b[:1])
    assert torch.equal(told.context[1, 0], 0.75 * a[0] + 0.25 * b[0])  # both have a token
    assert torch.equal(told.context[1, 1], a[1])  # only a has one
    unmasked = mixed(Condition(context=torch.stack([a, b])), [0.5])
    assert unmasked.mask is None
    assert unmasked.context is not None
    assert torch.equal(unmasked.context[0], (a + b) / 2)


def test_one_prompt_to_itself_stays_and_the_empty_one_is_a_prompt():
    same = between_prompts(READER, "red cat", "red cat", 3)
    assert far(same.array, same.array[:1]) <= 1
    request = Request(guidance_scale=2.0)
    for a, b in (("", "red cat"), ("red cat", "")):
        ends = between_prompts(READER, a, b, 2, request=request)
        for image, prompt, scale in zip(ends, (a, b), (1 if not a else 2, 1 if not b else 2), strict=True):
            assert far(image, READER.sample(1, prompt=prompt, guidance_scale=scale)[0]) <= 1


def test_what_a_picture_between_prompts_says():
    facts = json.loads(between_prompts(READER, "red cat", "blue apple", 2, seed=3).metadata[1]["sfumato"])
    assert facts["task"] == {"name": "between prompts", "share": 1.0}
    assert facts["seed"] == 3
    assert "apple" not in json.dumps(facts)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: between_prompts(MODEL, "a", "b"), "'tiny' reads no prompts; between two seeds there is a way too"),
        (lambda: between_prompts(READER, "red", "blue", 1), "at least the two, not 1"),
        (lambda: between_prompts(READER, "red", "blue", seed=-1), "a seed is"),
        (lambda: between_prompts(READER, "red", "bl\x07ue"), "control character U.0007"),
        (
            lambda: between_prompts(
                READER, "red", "blue", request=Request(guidance_scale=2, guidance=Guidance(weak=text_model()))
            ),
            "no autoguidance",
        ),
        (lambda: between_seeds(MODEL, 1, 2, request=Request(solver="ddpm")), "'ddpm' draws noise of each seed"),
        (lambda: between_seeds(MODEL, 1, 2, 1), "at least the two, not 1"),
        (lambda: between_seeds(MODEL, 1, 2**63), "a seed is"),
        (lambda: between_seeds(MODEL, 1, 2, label="fod"), "Did you mean 'food'"),
        (lambda: between_seeds(READER, 1, 2, label="food"), "has no labels; say it in a prompt"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()


# ---- seeds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("m", "how"),
    [(MODEL, {"label": "food"}), (READER, {"prompt": "red cat"}), (latent_model(), {"label": "animals, flat"})],
    ids=["labels", "texts", "latents"],
)
def test_the_ends_are_the_pictures_of_the_seeds(m, how):
    images = between_seeds(m, 7, 3, 5, batch=2, **how)
    assert far(images[0], m.sample(1, seed=7, **how)[0]) <= 1
    assert far(images[4], m.sample(1, seed=3, **how)[0]) <= 1
    assert len(np.unique(images.array.reshape(5, -1), axis=0)) == 5


def test_between_seeds_the_noise_goes_along_an_arc():
    m, seen = model(), []
    m.network.register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    between_seeds(m, 1, 2, 3)
    noise = m.start([1, 2])
    torch.testing.assert_close(seen[0][1:2], slerp(noise[:1], noise[1:], 0.5))
    assert torch.equal(seen[0][:1], noise[:1])


def test_what_a_picture_between_seeds_says():
    images = between_seeds(MODEL, 1, 2, 3)
    facts = json.loads(images.metadata[1]["sfumato"])
    assert facts["task"] == {"name": "between seeds", "seeds": [1, 2], "share": 0.5}
    assert facts["label"] == ["none"]
