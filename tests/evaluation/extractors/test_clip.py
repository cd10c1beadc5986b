import json
import logging

import numpy as np
import pytest
import torch

import towers
from sfumato.errors import InputError
from sfumato.evaluation.cmmd import cmmd
from sfumato.evaluation.extractors import clip as tower
from sfumato.evaluation.extractors.clip import clip
from sfumato.evaluation.extractors.preprocessing import Preprocessing
from sfumato.evaluation.names import metric_name
from sfumato.files import sha256_of

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (3, 40, 30, 3), dtype=np.uint8)
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def prepared(side=28):
    return Preprocessing((side, side), MEAN, STD, clamped=False)(torch.from_numpy(PICTURES).permute(0, 3, 1, 2).float())


@pytest.fixture
def standard(tmp_path, monkeypatch):
    """A folder as that of CMMD's network, of which a small one takes the place."""
    network = towers.clip(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(network.state_dict(), tmp_path / "pytorch_model.bin")
    monkeypatch.setattr(tower, "SHA256", sha256_of(tmp_path / "pytorch_model.bin"))
    monkeypatch.setattr(tower, "SETTINGS", {key: getattr(network.config, key) for key in tower.SETTINGS})
    return tmp_path, network


def test_features_are_transformers_projected_embedding(tmp_path):
    network = towers.clip(tmp_path)
    with torch.no_grad():
        expected = network.visual_projection(network.vision_model(prepared()).pooler_output)
    extractor = clip(tmp_path)
    found = extractor.features(PICTURES)
    assert (found.shape, found.dtype, extractor.width) == ((3, 12), np.float32, 12)
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-4)


def test_out_of_a_whole_clip_without_a_word(tmp_path, capfd):
    network = towers.whole_clip(tmp_path)
    capfd.readouterr()
    found = clip(tmp_path).features(PICTURES)
    assert capfd.readouterr() == ("", "")
    with torch.no_grad():
        expected = network.get_image_features(prepared())
    expected = getattr(expected, "pooler_output", expected)
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-4)


def test_cmmd_does_not_go_by_the_length_of_embeddings(tmp_path):
    towers.clip(tmp_path)
    one, other = (clip(tmp_path).features(RNG.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)) for _ in range(2))
    lengths = [np.linalg.norm(rows, axis=1, keepdims=True) for rows in (one, other)]
    assert np.ptp(lengths[0]) > 1e-3
    assert cmmd(one, other) == pytest.approx(cmmd(one / lengths[0], other / lengths[1]), rel=1e-4)


def test_cmmd_is_named_by_its_network_only(standard, tmp_path):
    folder, network = standard
    extractor = clip(folder)
    assert metric_name("MMD", extractor.name) == "CMMD"
    assert extractor.sha256 == tower.SHA256
    with torch.no_grad():
        expected = network(prepared()).image_embeds
    torch.testing.assert_close(torch.from_numpy(extractor.features(PICTURES)), expected, rtol=1e-4, atol=1e-4)
    towers.clip(tmp_path / "other", num_hidden_layers=1)
    assert metric_name("MMD", clip(tmp_path / "other").name) == "MMD-CLIP-16x1/14@28px"


def test_its_weights_in_another_network_are_not_it(standard):
    folder, _ = standard
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_act": "gelu"}))
    assert clip(folder).name == "CLIP-16x2/14@28px"


def test_weights_that_are_not_known_to_be_its(standard, caplog):
    folder, network = standard
    network.save_pretrained(folder)
    network.visual_projection.weight.data += 1
    torch.save(network.state_dict(), folder / "pytorch_model.bin")  # is a pickle that nobody vouches for: not opened
    with caplog.at_level(logging.WARNING, "sfumato"):
        extractor = clip(folder)
    assert extractor.name == "CLIP-16x2/14@28px"
    assert extractor.sha256 == sha256_of(folder / "model.safetensors")
    assert "known only as pytorch_model.bin of openai/clip-vit-large-patch14-336" in caplog.text


def test_the_standard_settings_are_those_of_the_name(tmp_path):
    """Of the published network: 24 layers of 1024, 577 positions, patches of 14."""
    s = tower.SETTINGS
    assert (s["hidden_size"], s["num_hidden_layers"], s["projection_dim"]) == (1024, 24, 768)
    assert (s["image_size"] // s["patch_size"]) ** 2 + 1 == 577
    assert s["hidden_size"] // s["num_attention_heads"] == 64
    with torch.device("meta"):
        network = towers.transformers.CLIPVisionModelWithProjection(towers.clip_config(**s))
    assert sum(p.numel() for p in network.parameters()) == 304_293_888


def test_folders_that_hold_no_tower(tmp_path):
    towers.dinov2(tmp_path)
    with pytest.raises(InputError, match=r"holds no CLIP: its config\.json describes a network of type 'dinov2'"):
        clip(tmp_path)
    with pytest.raises(InputError, match=r"holds no CLIP: it has no model\.safetensors"):
        clip(tmp_path / "none")
