"""The models inside the package: they load, and do what the README says of them."""

import numpy as np
import pytest

import sfumato as sf
from sfumato.generation.model import Model
from sfumato.models.shipped import shipped_names

LIMIT = 25_000_000  # bytes of a shipped model


@pytest.fixture(scope="module", params=["emoji-text", "emoji-64"])
def text_model(request) -> Model:
    return sf.load(request.param)


def test_which_there_are(tmp_path):
    from sfumato.models.shipped import find_folder

    assert shipped_names() == ["emoji", "emoji-64", "emoji-text"]
    for name in shipped_names():
        folder = find_folder(name)
        assert sum(path.stat().st_size for path in folder.iterdir()) < LIMIT
        model = sf.load(name)
        assert model.spec.name == name
        assert model.spec.licence == "Apache-2.0"
        assert model.spec.data["source"]
        assert (folder / "README.md").read_text("utf-8").startswith(f"# {name}\n")


def hue(model: Model, prompt: str) -> np.ndarray:
    """Mean colour of what is not white, of four pictures."""
    pixels = model.sample(4, prompt=prompt, seed=0, steps=8).array.reshape(-1, 3).astype(float)
    return pixels[pixels.min(1) < 200].mean(0)


@pytest.mark.parametrize(("colour", "channel"), [("red", 0), ("green", 1), ("blue", 2)])
def test_a_prompt_is_drawn_in_the_colour_that_it_names(text_model, colour, channel):
    found = hue(text_model, f"{colour} heart")
    assert found.argmax() == channel
    assert found[channel] > 1.2 * np.delete(found, channel).mean()


def test_what_is_not_understood_is_told(text_model, caplog):
    text_model.sample(1, prompt="a xylophonist", steps=1)
    assert "xylophonist" in caplog.text


def test_it_never_saw_the_pairs_that_are_held_out(text_model):
    assert str(text_model.spec.data["name"]).endswith(":train")
