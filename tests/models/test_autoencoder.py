import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import sfumato as sf
from autoencoders import codec
from factory import network, spec
from sfumato.errors import InputError
from sfumato.models.autoencoder import load_autoencoder_folder, save_autoencoder_folder
from sfumato.models.folder import save_folder


@pytest.fixture
def folder(tmp_path):
    one = codec()
    save_autoencoder_folder(tmp_path / "ae", one.spec, one.network.state_dict())
    return tmp_path / "ae"


def pictures(count=3, side=16, channels=3):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, channels), dtype=np.uint8)


def test_what_is_loaded_is_what_was_saved(folder):
    one, again = codec(), sf.load_autoencoder(folder)
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "autoencoder.json", "weights.safetensors"]
    stored, given = asdict(again.spec), asdict(one.spec)
    assert {**stored, "weights": None} == given
    assert again.spec.weights is not None
    assert (again.spec.weights.which, again.spec.weights.dtype) == ("average", "float32")
    latents = one.encode(pictures())
    assert torch.equal(again.encode(pictures()), latents)
    assert np.array_equal(again.decode(latents).array, one.decode(latents).array)


def test_the_codec_is_the_network_with_shift_scale_and_levels():
    one, x = codec(), pictures()
    values = torch.from_numpy(x).permute(0, 3, 1, 2).float() / 127.5 - 1
    mean = one.network.encode(values).mean
    shift, scale = (torch.tensor(v)[:, None, None] for v in ((0.5, 0.0, -1.0, 2.0), (2.0, 1.0, 0.5, 3.0)))
    latents = one.encode(x)
    assert latents.shape == (3, 4, 8, 8)
    torch.testing.assert_close(latents, (mean - shift) * scale, rtol=1e-4, atol=1e-5)
    expected = ((one.network.decode(mean) + 1) * 127.5).round().clamp(0, 255).permute(0, 2, 3, 1)
    assert np.abs(one.decode(latents).array - expected.numpy()).max() <= 1
    torch.testing.assert_close(one.posterior(x).log_variance, one.network.encode(values).log_variance)


def test_batches_and_tiles_change_nothing_that_fits_in_one():
    one, x = codec(), pictures(5)
    whole = one.encode(x)
    one.batch = 2
    torch.testing.assert_close(one.encode(x), whole, rtol=1e-5, atol=1e-5)
    one.tile = 8
    torch.testing.assert_close(one.encode(x), whole, rtol=1e-5, atol=1e-5)
    assert np.abs(one.decode(whole).array.astype(int) - codec().decode(whole).array).max() <= 1
    one.tile = 4
    assert not torch.allclose(one.encode(x), whole)
    assert one.decode(whole).array.shape == x.shape


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (pictures(channels=1), r"uint8 \(N, H, W, 3\), not uint8 \(3, 16, 16, 1\)"),
        (pictures().astype(np.float32), "not float32"),
        (pictures()[0], r"not uint8 \(16, 16, 3\)"),
        (pictures()[:0], r"\(0, 16, 16, 3\)"),
        (pictures(side=15), "a height of 15 does not fit this autoencoder"),
    ],
)
def test_pictures_of_another_kind_are_told(given, message):
    with pytest.raises(InputError, match=message):
        codec().encode(given)


def test_latents_of_another_kind_are_told():
    with pytest.raises(InputError, match=r"takes latents \(N, 4, h, w\)"):
        codec(network=codec().network.config.__class__(channels=8, groups=4)).decode(torch.zeros(1, 3, 8, 8))


def test_the_card_says_how_well_it_does(folder):
    card = (folder / "README.md").read_text().splitlines()
    for line in (
        "A KL autoencoder for 16x16 pictures with 3 channels, whose latents are 4x8x8, made with "
        "[sfumato](https://pypi.org/project/sfumato/).",
        "| pictures | n | PSNR dB | SSIM | FD-EffNetLite0 | KL nats | KL bits |",
        "| kept back | 2 | 23.46 | 0.75 | 12 | 100 | 144.3 |",
        "| learned from | 2 | – | – | – | 100 | 144.3 |",
        "- held out: 0.25",
    ):
        assert line in card


def edit(folder, **changes):
    path = folder / "autoencoder.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def poison(folder):
    """NaN among the weights, with a checksum that fits."""
    from sfumato.files import sha256_of

    path, facts = folder / "weights.safetensors", json.loads((folder / "autoencoder.json").read_text())
    tensors = load_file(path)
    tensors["decoder.enter.bias"].fill_(float("nan"))
    save_file(tensors, path)
    edit(folder, weights={**facts["weights"], "sha256": sha256_of(path)})


def cut(folder):
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: edit(f, format=2), "format 2, but this version reads up to 1"),
        (lambda f: edit(f, surprise=1), "there is no 'surprise'"),
        (lambda f: edit(f, weights=None), "weights is missing"),
        (lambda f: edit(f, size=[15, 16]), "a height of 15 does not fit this autoencoder"),
        (lambda f: edit(f, reconstruction=[{"pictures": "given"}]), r"reconstruction\[0\]: count is missing"),
        (lambda f: edit(f, network={"latent_scale": [0.0]}), "latent_scale must be above 0"),
        (lambda f: edit(f, network={"channels": 8, "groups": 4}), r"tensors missing"),
        (lambda f: (f / "weights.safetensors").unlink(), "no weights.safetensors"),
        (cut, "is not a whole safetensors file"),
        (poison, "decoder.enter.bias holds NaN or infinity"),
        (lambda f: (f / "autoencoder.json").write_text("{"), "cannot be read"),
        (lambda f: (f / "autoencoder.json").unlink(), "is no autoencoder folder: it has no autoencoder.json"),
    ],
)
def test_refuses_what_it_does_not_understand(folder, damage, message):
    damage(folder)
    with pytest.raises(InputError, match=message):
        load_autoencoder_folder(folder)


def test_models_and_autoencoders_are_not_taken_for_each_other(folder, tmp_path):
    save_folder(tmp_path / "model", spec(), network(spec()).state_dict(), "average")
    with pytest.raises(InputError, match=r"is no model folder: it has no model.json. It holds an autoencoder\."):
        sf.load(folder)
    with pytest.raises(InputError, match=r"is no autoencoder folder: .* It holds a model\."):
        sf.load_autoencoder(tmp_path / "model")
    with pytest.raises(InputError, match=r"there is no such folder\. To make one: sfumato train-autoencoder"):
        sf.load_autoencoder(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"holds 'model.json', which is no part of an autoencoder"):
        save_autoencoder_folder(tmp_path / "model", codec().spec, codec().network.state_dict())
    (tmp_path / "run").mkdir()
    folder.rename(tmp_path / "run" / "model")
    assert sf.load_autoencoder(tmp_path / "run").spec.name == "tiny autoencoder"
    with pytest.raises(InputError, match="It holds an autoencoder"):
        sf.load(tmp_path / "run")
    (tmp_path / "run" / "model").rename(folder)
    (tmp_path / "run" / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"has no autoencoder yet. Go on with: sfumato train-autoencoder"):
        sf.load_autoencoder(tmp_path / "run")
