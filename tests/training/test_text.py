"""Runs that learn from captions, and runs that learn latents."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from encoders import minilm
from factory import NETWORK, QUIET, config
from sfumato.data.dataset import Dataset
from sfumato.data.pack import read_pack, write_pack
from sfumato.errors import InputError
from sfumato.generation.model import load
from sfumato.models.autoencoder import AutoencoderSpec, load_autoencoder_folder, save_autoencoder_folder
from sfumato.networks.autoencoder import Autoencoder
from sfumato.networks.autoencoder_config import AutoencoderConfig
from sfumato.training import train
from sfumato.training.latents import Latents

SMALL = {"text": "words", "text_length": 6, "text_features": 8, "spoken": ("style",), "pictures": 24}


@pytest.fixture
def captioned(tmp_path):
    """A pack of pictures with captions."""
    rng = np.random.default_rng(0)
    data = Dataset(
        name="captioned",
        images=rng.integers(0, 255, (6, 8, 8, 3)).astype(np.uint8),
        labels=np.arange(6)[:, None] % 2,
        kinds={"style": ("noto", "fluent")},
        captions=("red apple", "red apple", "cat", "cat", "blue cat", "apple"),
        tags=(("fruit",), ("fruit",), (), ("pet", "meow"), ("pet",), ()),
    )
    write_pack(data, tmp_path / "data.safetensors")
    return tmp_path / "data.safetensors"


@pytest.fixture
def autoencoder(tmp_path):
    """The folder of an autoencoder of factor 2, of random weights."""
    shape = AutoencoderConfig(
        channels=4,
        multipliers=(1, 2),
        blocks=1,
        groups=2,
        mid_attention=False,
        latent_channels=2,
        latent_shift=(0.1, -0.2),
        latent_scale=(2.0, 3.0),
    )
    torch.manual_seed(0)
    network = Autoencoder(shape)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    save_autoencoder_folder(tmp_path / "ae", AutoencoderSpec("ae", shape, (8, 8)), network.state_dict())
    return tmp_path / "ae"


def weights(run):
    return load_file(run / "model" / "weights.safetensors")


def test_a_run_on_captions_makes_a_model_that_reads_prompts(captioned, tmp_path):
    train(config(captioned, tmp_path / "run", sample_every=24, **SMALL), QUIET)
    model = load(tmp_path / "run")
    text = model.spec.text
    assert text is not None
    assert set(text.words) == {"red", "apple", "cat", "blue", "fruit", "pet", "meow", "noto", "fluent", "style"}
    assert text.examples[0] == "red apple, noto style"
    assert model.spec.labels.kinds == {}
    assert model.network.config.labels == ()
    assert len(model.sample(prompt=["red apple", "cat, noto style"], guidance_scale=2)) == 2
    assert (tmp_path / "run" / "samples" / f"{24:012d}.png").is_file()


def test_a_run_on_captions_resumes_to_the_same_bytes(captioned, tmp_path, monkeypatch):
    train(config(captioned, tmp_path / "whole", **SMALL), QUIET)

    class KilledError(Exception):
        pass

    def kill(*args, **kwargs):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr("sfumato.training.student.save_folder", kill)  # after the first checkpoint
        with pytest.raises(KilledError):
            train(config(captioned, tmp_path / "cut", **SMALL), QUIET)
    train(config(captioned, tmp_path / "cut", resume=True, **SMALL), QUIET)
    for name, value in weights(tmp_path / "whole").items():
        assert torch.equal(value, weights(tmp_path / "cut")[name]), name


def test_other_captions_are_other_data(captioned, tmp_path):
    train(config(captioned, tmp_path / "run", **SMALL), QUIET)
    changed = replace(read_pack(captioned), captions=("cat", "red apple", "cat", "red apple", "blue cat", "apple"))
    changed = replace(changed, images=np.array(changed.images))
    write_pack(changed, captioned)
    with pytest.raises(InputError, match="its fingerprint differs"):
        train(config(captioned, tmp_path / "run", resume=True, **{**SMALL, "pictures": 32}), QUIET)


def test_a_run_with_a_frozen_encoder_carries_it_along(captioned, tmp_path):
    minilm(tmp_path / "bert")
    how = {**SMALL, "text": "minilm", "text_encoder": tmp_path / "bert"}
    train(config(captioned, tmp_path / "run", **how), QUIET)
    model = load(tmp_path / "run")
    assert model.network.config.context == 16
    assert model.network.config.vocabulary == 0
    assert not [name for name in weights(tmp_path / "run") if name.startswith("text.")]
    assert {name for name in model.spec.files if name.endswith("safetensors")} == {"text/model.safetensors"}
    assert len(model.sample(prompt="red cat", guidance_scale=2)) == 1
    (tmp_path / "run" / "model" / "text" / "evil.py").write_text("")
    with pytest.raises(InputError, match=r"text/evil\.py is not among the files"):
        load(tmp_path / "run")
    (tmp_path / "run" / "model" / "text" / "evil.py").unlink()
    (tmp_path / "run" / "model" / "text" / "config.json").write_text("{}")
    assert (tmp_path / "bert" / "config.json").read_text() != "{}"  # a copy
    with pytest.raises(InputError, match=r"text/config\.json does not match its checksum"):
        load(tmp_path / "run")


def test_a_run_does_not_go_on_with_another_autoencoder_or_encoder(captioned, autoencoder, tmp_path):
    minilm(tmp_path / "bert")
    how = {**SMALL, "text": "minilm", "text_encoder": tmp_path / "bert", "autoencoder": autoencoder}
    train(config(captioned, tmp_path / "run", **how), QUIET)
    more = {**how, "pictures": 32, "resume": True}

    spec, network = load_autoencoder_folder(autoencoder)
    other = replace(spec, network=replace(spec.network, latent_scale=(2.5, 3.0)))
    save_autoencoder_folder(autoencoder, other, network.state_dict())
    with pytest.raises(InputError, match="its fingerprint differs"):
        train(config(captioned, tmp_path / "run", **more), QUIET)
    save_autoencoder_folder(autoencoder, spec, network.state_dict())

    weights_file = tmp_path / "bert" / "model.safetensors"
    before = weights_file.read_bytes()
    save_file({k: v + 1 for k, v in load_file(weights_file).items()}, weights_file, {"format": "pt"})
    with pytest.raises(InputError, match="its fingerprint differs"):
        train(config(captioned, tmp_path / "run", **more), QUIET)

    weights_file.write_bytes(before)
    autoencoder.rename(tmp_path / "moved")
    train(config(captioned, tmp_path / "run", **{**more, "autoencoder": tmp_path / "moved"}), QUIET)


def test_a_run_of_an_earlier_version_goes_on(captioned, tmp_path):
    """Options that it did not know have their defaults."""
    train(config(captioned, tmp_path / "run", pictures=24), QUIET)
    path = tmp_path / "run" / "config.json"
    stored = json.loads(path.read_text())
    for name in ("text", "text_encoder", "spoken", "autoencoder"):
        del stored[name]
    del stored["network"]["context"]
    path.write_text(json.dumps(stored))
    train(config(captioned, tmp_path / "run", pictures=28, resume=True), QUIET)
    assert load(tmp_path / "run").spec.training["pictures"] == 28


def test_captions_that_look_like_prompts_with_weights(captioned, tmp_path):
    data = read_pack(captioned)
    captions = ("a clock (12:30)", "ratio (4:3)", "red\x07 cat", "", "blue cat", "apple")
    odd = replace(data, images=np.array(data.images), captions=captions, tags=())
    write_pack(odd, captioned)
    train(config(captioned, tmp_path / "run", **SMALL), QUIET)
    text = load(tmp_path / "run").spec.text
    assert text is not None
    assert {"12", "30", "4", "3"} <= set(text.words)
    assert set(text.examples) == {"fluent style", "blue cat, noto style", "apple, fluent style"}


def test_a_run_on_latents(captioned, autoencoder, tmp_path):
    how = {**SMALL, "autoencoder": autoencoder, "sample_every": 24}
    train(config(captioned, tmp_path / "run", **how), QUIET)
    model = load(tmp_path / "run")
    assert model.autoencoder is not None
    assert model.spec.shape() == (2, 4, 4)
    assert model.network.config.in_channels == 2
    images = model.sample(2, prompt="red cat", guidance_scale=2, steps=3)
    assert images.array.shape == (2, 8, 8, 3)
    x = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    _, alone = load_autoencoder_folder(autoencoder)
    expected = alone.decode(x / torch.tensor([2.0, 3.0])[:, None, None] + torch.tensor([0.1, -0.2])[:, None, None])
    found = model.pictures(x).astype(float) / 127.5 - 1
    assert np.abs(found - expected.clamp(-1, 1).permute(0, 2, 3, 1).numpy()).max() < 1 / 127
    with pytest.raises(InputError, match=r"multiples of 4 .* Nearest that fits: 8x8"):
        model.sample(prompt="cat", size=(8, 10))


def test_latents_are_draws_of_the_posterior(captioned, autoencoder, tmp_path):
    """A function of (seed, number); their mean and spread are those of the encoder's posterior."""
    from sfumato.scaling import to_unit

    data, (_, network) = read_pack(captioned), load_autoencoder_folder(autoencoder)
    said = []
    latents = Latents(network, data, tmp_path / "latents.safetensors", "key", True, said.append)
    count = 3000
    with torch.no_grad():
        for mirrored in (False, True):
            images = data.images[2:3, :, ::-1] if mirrored else data.images[2:3]
            posterior = network.encode(to_unit(images))
            draws = latents.draw(7, range(count), np.full(count, 2), np.full(count, mirrored))
            expected = network.to_latents(posterior.mean)[0]
            spread = (posterior.log_variance / 2).exp()[0] * torch.tensor([2.0, 3.0])[:, None, None]
            assert ((draws.mean(0) - expected).abs() < 5 * spread / count**0.5).all()
            assert (draws.std(0) / spread - 1).abs().max() < 0.1
    alone = latents.draw(7, [1234], np.array([2]), np.array([True]))
    assert torch.equal(alone[0], draws[1234])
    Latents(network, data, tmp_path / "latents.safetensors", "key", True, said.append)
    assert len(said) == 1  # the second time they were there
    Latents(network, data, tmp_path / "latents.safetensors", "other", True, said.append)
    (tmp_path / "latents.safetensors").write_bytes(b"cut off")
    Latents(network, data, tmp_path / "latents.safetensors", "other", True, said.append)
    assert len(said) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": "clip"}, "needs the folder of its files"),
        ({"spoken": ("stile",)}, "no labels of kind 'stile'"),
        ({"text": "none"}, "belong to a training with --text"),
        ({"text_encoder": "x"}, "the folder of a frozen one"),
        ({"text_length": 1}, "no room for a word"),
        ({"autoencoder": "nowhere"}, "no autoencoder 'nowhere'"),
    ],
)
def test_settings_that_cannot_work(captioned, tmp_path, changes, message):
    from pathlib import Path

    changes = {k: Path(v) if k in ("autoencoder", "text_encoder") else v for k, v in changes.items()}
    with pytest.raises(InputError, match=message):
        train(config(captioned, tmp_path / "run", **{**SMALL, **changes}), QUIET)


def test_pictures_without_captions(tmp_path):
    from factory import pictures

    with pytest.raises(InputError, match=r"has no captions to learn from. Add a metadata\.jsonl"):
        train(config(pictures(tmp_path / "p"), tmp_path / "run", text="words"), QUIET)


def test_the_log_of_a_run_says_what_it_learns_from(captioned, tmp_path):
    train(config(captioned, tmp_path / "run", **SMALL), QUIET)
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (stored["text"], stored["spoken"]) == ("words", ["style"])
    assert NETWORK.context == 0
