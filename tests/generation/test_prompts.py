"""Models that read prompts: what is asked for, guidance, weights, batches, what the files say."""

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from factory import WORDS, model, text_model
from sfumato.errors import InputError
from sfumato.generation.guidance import Guidance
from sfumato.generation.request import Request
from sfumato.networks.condition import Condition

MODEL = text_model()
assert MODEL.spec.text is not None
TEXT = MODEL.spec.text


def x_of(*prompts, scale=1.0, t=0.6, **guidance):
    """x̂0 of the same noise for each prompt."""
    asked = MODEL.ask(range(len(prompts)), prompt=list(prompts))
    start = MODEL.start([5]).expand(len(prompts), -1, -1, -1)
    return MODEL.denoiser(asked, scale, clip=False, guidance=Guidance(**guidance))(start, t)


def test_every_prompt_gets_its_own_picture():
    found = x_of("red apple", "apple red", "blue cat", "")
    for i in range(4):
        assert all((found[i] - found[j]).abs().max() > 1e-4 for j in range(i))
        alone = x_of(["red apple", "apple red", "blue cat", ""][i])[0]
        torch.testing.assert_close(found[i], alone, rtol=1e-4, atol=1e-5)


def test_the_network_is_told_the_words():
    words = torch.tensor([[0, 1 + WORDS.index("red"), 1 + WORDS.index("cat"), -1, -1, -1]])
    expected = MODEL.denoised(MODEL.start([5]), 0.6, Condition(words=words))
    torch.testing.assert_close(x_of("Red, cat!"), expected)


@pytest.mark.parametrize("negative", [None, "blue cat"])
@pytest.mark.parametrize("together", [True, False])
def test_guidance_goes_away_from_the_empty_or_the_negative_prompt(negative, together):
    towards, away = x_of("red apple"), x_of(negative or "")
    found = x_of("red apple", scale=3.0, negative=negative, together=together)
    torch.testing.assert_close(found, away + 3 * (towards - away), rtol=1e-4, atol=1e-4)


def test_weights_of_words():
    plain = x_of("red apple")
    assert torch.equal(x_of("(red:1.0) apple"), plain)
    assert (x_of("(red:2) apple") - plain).abs().max() > 1e-4
    empty = x_of("(red:0) (apple:0)")  # the same number of words, none of which says anything
    assert not torch.allclose(empty, plain)


def test_a_prompt_for_all_or_one_for_each():
    same = MODEL.sample(2, seed=3, prompt="red cat", guidance_scale=2)
    each = MODEL.sample(seed=3, prompt=["red cat", "red cat"], guidance_scale=2)
    assert np.array_equal(same.array, each.array)
    assert len(MODEL.sample(prompt=["red", "cat", "apple"])) == 3


def test_a_picture_is_the_same_alone_and_in_a_batch():
    prompts = ["red cat", "", "blue apple", "red cat", "noto style"]
    many = MODEL.sample(seed=20, prompt=prompts, guidance_scale=2, batch=2)
    for i, prompt in enumerate(prompts):
        alone = MODEL.sample(seed=20 + i, prompt=prompt, guidance_scale=2 if prompt else 1)
        assert np.abs(alone.array.astype(int) - many.array[i].astype(int)).max() <= 1


def test_without_a_prompt_captions_of_the_training_data_are_drawn():
    assert set(MODEL.ask(range(50)).texts) == set(TEXT.examples)
    assert MODEL.ask([3, 9]).texts == MODEL.ask([3]).texts + MODEL.ask([9]).texts


def test_what_a_prompt_says_in_vain_is_told(caplog):
    with caplog.at_level(logging.WARNING, "sfumato"):
        MODEL.sample(prompt="red dragon", guidance_scale=2)
    (record,) = caplog.records
    assert record.getMessage().startswith("prompt 'red dragon': left out, because training never saw it: 'dragon'.")


def test_the_file_says_everything_but_the_prompt():
    images = MODEL.sample(prompt="red cat", negative="blue", guidance_scale=2, seed=4)
    text = json.dumps(images.metadata[0])
    assert "red" not in text
    assert "blue" not in text
    facts = json.loads(images.metadata[0]["sfumato"])
    assert (facts["seed"], facts["guidance_scale"]) == (4, 2.0)
    assert "label" not in facts


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MODEL.sample(label="food"), "has no labels; say it in a prompt"),
        (lambda: model().sample(prompt="red"), "reads no prompts; it was trained with labels: group, style"),
        (lambda: MODEL.sample(3, prompt=["red", "cat"]), "2 prompts for 3 pictures"),
        (lambda: MODEL.sample(prompt="red\x07"), r"control character U\+0007"),
        (lambda: MODEL.sample(prompt=7), "a prompt is a text"),  # type: ignore[arg-type]
        (lambda: MODEL.sample(prompt="", guidance_scale=2), "needs a prompt to be guided by; there is none"),
        (lambda: MODEL.sample(prompt="red", negative=" red", guidance_scale=2), "other than the negative one"),
        (lambda: MODEL.sample(prompt="red", negative="cat"), "a negative prompt does nothing at guidance scale 1"),
        (lambda: MODEL.sample(prompt="red", weak=model(), guidance_scale=2), "other labels"),
    ],
)
def test_what_cannot_be_asked(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_without_text_dropout_there_is_no_guidance_away_from_none():
    bare = text_model(text=replace(TEXT, dropout=0.0))
    with pytest.raises(InputError, match=r"trained with prompt dropout; .* or a negative prompt\."):
        bare.sample(prompt="red", guidance_scale=2)
    bare.sample(prompt="red", negative="cat", guidance_scale=2)


def test_a_prompt_of_ten_thousand_words(caplog):
    with caplog.at_level(logging.WARNING, "sfumato"):
        MODEL.sample(prompt="red " * 10_000, steps=1)
    (record,) = caplog.records
    assert len(record.getMessage()) < 200
    assert "only 5 words fit" in record.getMessage()


def test_a_strip_of_steps_takes_prompts():
    from sfumato.generation.strip import steps_strip

    sheet = steps_strip(MODEL, [1, 2], None, Request(3), columns=3, prompt=["red", "cat"])
    assert sheet.dtype == np.uint8


def test_inversion_of_a_picture_is_told_no_text():
    from sfumato.generation.latents import decode, invert

    pictures = MODEL.sample(2, prompt="", steps=2).array
    noise = invert(MODEL, pictures, steps=3)
    assert decode(MODEL, noise, steps=3).array.shape == pictures.shape


def test_a_blank_negative_is_none():
    bare = text_model(text=replace(TEXT, dropout=0.0))
    with pytest.raises(InputError, match="prompt dropout"):
        bare.sample(prompt="red", negative="  ", guidance_scale=2)


def test_evaluation_says_what_was_asked_for():
    from sfumato.evaluation.samples import labels_rule
    from sfumato.evaluation.work import ordered
    from tiny import latent_model

    def rule(model):
        return labels_rule(ordered(model, Request(2), 2, seed=0)[0])

    assert rule(MODEL) == "prompts as in the training data"
    assert rule(text_model(text=replace(TEXT, examples=()))) == "no prompts"
    assert rule(latent_model()) == "as in the training data"


def test_tuning_needs_captions():
    from sfumato.tuning.reference import reference_of

    with pytest.raises(InputError, match="holds no captions to tune on"):
        reference_of(text_model(text=replace(TEXT, examples=())), [1, 2])
