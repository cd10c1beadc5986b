import json
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import towers
from sfumato.errors import InputError
from sfumato.evaluation.extractors.dinov2 import dinov2
from sfumato.evaluation.extractors.preprocessing import IMAGENET, Preprocessing
from sfumato.evaluation.names import metric_name
from sfumato.files import sha256_of

PICTURES = np.random.default_rng(0).integers(0, 256, (2, 40, 30, 3), dtype=np.uint8)


def rewrite(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def test_features_are_transformers_cls_token(tmp_path):
    network = towers.dinov2(tmp_path)
    x = Preprocessing((224, 224), *IMAGENET)(torch.from_numpy(PICTURES).permute(0, 3, 1, 2).float())
    with torch.no_grad():
        everything = network(x, output_hidden_states=True)
    expected = network.layernorm(everything.hidden_states[-1])[:, 0]
    extractor = dinov2(tmp_path)
    found = extractor.features(PICTURES)
    assert (found.shape, found.dtype, extractor.width) == ((2, 16), np.float32, 16)
    assert everything.last_hidden_state.shape[1] == 1 + 16 * 16
    torch.testing.assert_close(torch.from_numpy(found), expected.detach(), rtol=1e-4, atol=1e-4)


def test_it_says_which_it_is(tmp_path):
    towers.dinov2(tmp_path)
    extractor = dinov2(tmp_path)
    assert metric_name("FD", extractor.name) == "FD-DINOv2-16x2/14"
    assert extractor.sha256 == sha256_of(tmp_path / "model.safetensors")
    assert extractor.preprocessing.startswith("bicubic to 224x224")


def test_what_the_weights_do_not_hold_is_in_the_key(tmp_path):
    towers.dinov2(tmp_path)
    first = dinov2(tmp_path)
    rewrite(tmp_path, num_attention_heads=4)
    second = dinov2(tmp_path)
    assert (first.sha256, first.name) == (second.sha256, second.name)
    assert not np.allclose(first.features(PICTURES), second.features(PICTURES), atol=1e-3)
    assert first.key != second.key


def test_the_key_does_not_go_by_the_folder(tmp_path):
    for name in ("one", "other"):
        towers.dinov2(tmp_path / name)
    assert dinov2(tmp_path / "one").key == dinov2(tmp_path / "other").key


def test_a_relative_is_not_taken_for_it(tmp_path):
    """With registers it has all of the tensors, and more that would be left out."""
    towers.dinov2(tmp_path)
    rewrite(tmp_path, model_type="dinov2_with_registers")
    with pytest.raises(InputError, match=r"holds no DINOv2: its config\.json describes a network of type 'dinov2_with"):
        dinov2(tmp_path)


def test_folders_that_hold_no_whole_network(tmp_path, capfd):
    with pytest.raises(InputError, match=r"holds no DINOv2: it has no model\.safetensors"):
        dinov2(tmp_path / "none")
    towers.dinov2(tmp_path, patch_size=15, image_size=30)
    with pytest.raises(InputError, match="patches of 15 pixels do not divide pictures of 224"):
        dinov2(tmp_path)
    towers.dinov2(tmp_path)
    capfd.readouterr()
    whole = load_file(tmp_path / "model.safetensors")
    save_file({k: v for k, v in whole.items() if "norm2" not in k}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"is no whole DINOv2: encoder\.layer\.0\.norm2\.bias is missing"):
        dinov2(tmp_path)
    assert capfd.readouterr() == ("", "")
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InputError, match="is no whole DINOv2"):
        dinov2(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json cannot be read"):
        dinov2(tmp_path)


def test_code_that_comes_with_it_is_not_run(tmp_path):
    towers.dinov2(tmp_path)
    rewrite(tmp_path, auto_map={"AutoModel": "evil.M"})
    with pytest.raises(InputError, match="asks for code that comes with it"):
        dinov2(tmp_path)


def test_without_the_extra(tmp_path, monkeypatch):
    towers.dinov2(tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"the DINOv2 needs an extra: pip install 'sfumato\[text\]'"):
        dinov2(tmp_path)
