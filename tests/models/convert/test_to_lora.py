"""Our adapters as files: named as others read them, small, and merged as they were learned."""

import json
import logging
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import factory
from factory import NETWORK
from foreign import awake, same_tensors
from sfumato.cli.main import main
from sfumato.errors import InputError
from sfumato.generation.model import load
from sfumato.models.convert.lora import COMPVIS, DIFFUSERS, HEADER, merged_unet, parse_lora, read_lora
from sfumato.models.convert.parts import unet_rules
from sfumato.models.convert.to_lora import lora_of, save_lora
from sfumato.models.folder import save_folder
from sfumato.networks.lora import adapt, adaptable
from sfumato.networks.unet import UNet

RANK, ALPHA = 2, 3.0
TEXT = replace(NETWORK, context=6)


def factors_of(config):
    """The state of random factors for a network of this shape."""
    generator = torch.Generator().manual_seed(1)
    state = adapt(UNet(config), RANK, ALPHA).state_dict()
    return {name: 0.3 * torch.randn(value.shape, generator=generator) for name, value in state.items()}


@pytest.fixture
def parent(tmp_path):
    """A model's folder, and its description."""
    description = factory.spec()
    spec = save_folder(tmp_path / "parent", description, factory.network(description).state_dict(), "average")
    return tmp_path / "parent", spec


@pytest.fixture
def adapter(tmp_path, parent):
    path = tmp_path / "style.safetensors"
    save_lora(path, parent[1], factors_of(parent[1].network), ALPHA, {"rank": RANK})
    return path


def test_a_file_is_what_was_learned(parent, adapter):
    folder, spec = parent
    lora, factors = read_lora(adapter), factors_of(spec.network)
    assert lora.base is not None
    assert (lora.base.name, lora.base.sha256) == ("tiny", spec.weights.sha256)
    state = load(folder).network.state_dict()
    found = merged_unet(spec.network, state, lora, 0.7)
    assert same_tensors(found, merged_unet(spec.network, state, lora_of(spec.network, factors, ALPHA), 0.7))
    for name, layer in adaptable(UNet(spec.network), "all").items():
        down, up = (factors[f"{name.replace('.', '_')}.{part}.weight"] for part in ("down", "up"))
        change = 0.7 * ALPHA / RANK * torch.einsum("or,r...->o...", up.flatten(1), down)
        torch.testing.assert_close(found[f"{name}.weight"] - state[f"{name}.weight"], change, rtol=1e-4, atol=1e-6)
        assert layer.weight.shape == change.shape


def test_a_file_is_small(parent, adapter):
    """rank·(in + out) numbers for a layer, and alpha."""
    layers = adaptable(UNet(parent[1].network), "all").values()
    numbers = sum(RANK * (layer.weight[0].numel() + len(layer.weight)) + 1 for layer in layers)
    tensors = load_file(adapter)
    assert sum(value.numel() for value in tensors.values()) == numbers
    assert {value.item() for name, value in tensors.items() if name.endswith(".alpha")} == {ALPHA}
    assert all(value.dtype == torch.float32 for value in tensors.values())
    with safe_open(adapter, "pt") as file:
        facts = json.loads(file.metadata()[HEADER])
    assert facts == {"format": 1, "base": {"name": "tiny", "sha256": parent[1].weights.sha256}, "rank": RANK}


def test_names_are_those_that_other_programs_know(tmp_path):
    """Of attention to texts every layer is one elsewhere; without texts queries, keys and values are one only here."""
    names = {}
    for model in (factory.text_model(), factory.model()):
        spec = save_folder(tmp_path / "m", model.spec, model.network.state_dict(), "raw")
        save_lora(tmp_path / "a.safetensors", spec, factors_of(spec.network), ALPHA, {})
        names[spec.text is not None] = set(load_file(tmp_path / "a.safetensors"))
        shutil.rmtree(tmp_path / "m")
    block = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0"
    assert {f"{block}_attn2_to_k.lora_down.weight", f"{block}_ff_net_0_proj.alpha"} <= names[True]
    assert "lora_unet_down_blocks_0_resnets_0_conv1.lora_up.weight" in names[True]
    theirs = {n.replace(".", "_") for rule in unet_rules(TEXT, DIFFUSERS) for n in rule.theirs}
    assert {f"{name.partition('.')[0].removeprefix('lora_unet_')}_weight" for name in names[True]} <= theirs
    assert "lora_unet_middle_0_attention_qkv.lora_up.weight" in names[False]


@pytest.mark.parametrize(
    "config", [TEXT, NETWORK, replace(NETWORK, labels=(3,), resample="residual")], ids=["text", "plain", "residual"]
)
def test_no_name_means_two_layers(config):
    ours = {name.replace(".", "_") for name in UNet(config).state_dict()}
    for names in (DIFFUSERS, COMPVIS):
        for rule in unet_rules(config, names):
            for name in rule.theirs:
                assert name.replace(".", "_") not in ours or name == rule.ours, name


def test_a_model_with_it_is_another_one(parent, adapter, tmp_path):
    """In memory and exported, at half strength: the same pictures, which say what was merged into which weights."""
    folder, spec = parent
    plain, used = load(folder), load(folder, lora=adapter, lora_scale=0.5)
    words = ["export", folder, "--out", tmp_path / "merged", "--lora", adapter, "--lora-scale", "0.5"]
    assert main([str(word) for word in words]) == 0
    merged = load(tmp_path / "merged")
    assert same_tensors(dict(used.network.state_dict()), dict(merged.network.state_dict()))
    pictures = used.sample(2, steps=3)
    assert (pictures.array == merged.sample(2, steps=3).array).all()
    assert (pictures.array != plain.sample(2, steps=3).array).any()
    told = json.loads(pictures.metadata[0]["sfumato"])
    assert told["lora"] == "style.safetensors, scale 0.5"
    assert told["lora_merged_into"] == spec.weights.sha256
    assert used.spec.weights is not None
    others = {load(folder, lora=adapter, lora_scale=s).spec.weights.sha256 for s in (0.5, 0.25)}  # type: ignore[union-attr]
    assert used.spec.weights.sha256 in others
    assert len({*others, spec.weights.sha256}) == 3
    assert "lora" not in json.loads(plain.sample(1, steps=1).metadata[0]["sfumato"])


def test_nothing_of_it_is_the_model(parent, adapter):
    folder, _ = parent
    none = load(folder, lora=adapter, lora_scale=0.0)
    assert same_tensors(dict(none.network.state_dict()), dict(load(folder).network.state_dict()))
    with pytest.raises(InputError, match="the scale of a LoRA is a number, not nan"):
        load(folder, lora=adapter, lora_scale=float("nan"))


def test_from_disk_turn_by_turn_and_in_half_precision(parent, adapter):
    folder, _ = parent
    usual = load(folder, lora=adapter).sample(1, steps=2).array
    assert (load(folder, lora=adapter, offload="disk").sample(1, steps=2).array == usual).all()
    half = load(folder, dtype="bfloat16", lora=adapter)
    assert half.network.enter.weight.dtype == torch.bfloat16
    assert abs(half.sample(1, steps=2).array.astype(int) - usual).max() < 24


def test_other_weights_are_told_of(parent, adapter, tmp_path, caplog):
    folder, spec = parent
    network = awake(UNet(spec.network))
    other = save_folder(tmp_path / "other", replace(spec, name="second"), network.state_dict(), "average").weights
    assert other is not None
    with caplog.at_level(logging.WARNING, "sfumato"):
        load(folder, lora=adapter)
        assert not caplog.records
        load(tmp_path / "other", lora=adapter)
    (record,) = caplog.records
    assert f"learned on tiny (weights {spec.weights.sha256[:12]}…)" in record.getMessage()
    assert f"this is second (weights {other.sha256[:12]}…)" in record.getMessage()


def test_another_network_is_refused(adapter, tmp_path):
    description = factory.spec(network=replace(NETWORK, labels=(2, 3), channels=16))
    save_folder(tmp_path / "wide", description, factory.network(description).state_dict(), "average")
    with pytest.raises(
        InputError, match=r"style\.safetensors: a LoRA for another model: .* has \(16, 16, 3, 3\) there"
    ):
        load(tmp_path / "wide", lora=adapter)


def test_files_that_are_none(parent, adapter, tmp_path):
    folder, _ = parent
    whole = adapter.read_bytes()
    for content, message in ((whole[:-10], "style.safetensors"), (b"", "style.safetensors")):
        adapter.write_bytes(content)
        with pytest.raises(InputError, match=message):
            load(folder, lora=adapter)
    adapter.write_bytes(whole)
    tensors = load_file(adapter)
    for header, message in (
        ("{", "style.safetensors: "),
        ("[]", "base: expected a table"),
        ('{"base": {"name": 1, "sha256": ""}}', "base: name must be of type str"),
        ("[" * 10_000, "style.safetensors: "),
    ):
        save_file(tensors, adapter, {HEADER: header})
        with pytest.raises(InputError, match=message):
            load(folder, lora=adapter)
    first = next(iter(tensors))
    save_file({**tensors, first: tensors[first] * float("nan")}, adapter)
    with pytest.raises(InputError, match="holds NaN or infinity"):
        load(folder, lora=adapter)
    with pytest.raises(InputError, match=r"holds no adapter\.safetensors"):
        load(folder, lora=folder)
    with pytest.raises(InputError, match="nowhere"):
        load(folder, lora=tmp_path / "nowhere.safetensors")


def test_updates_of_a_text_encoder_are_merged_by_export_only(parent, tmp_path):
    tensors = {"lora_te_a.lora_up.weight": torch.ones(3, 1), "lora_te_a.lora_down.weight": torch.ones(1, 3)}
    save_file(tensors, tmp_path / "te.safetensors")
    with pytest.raises(InputError, match=r"sfumato export MODEL --lora .*te\.safetensors --lora-scale 0\.5"):
        load(parent[0], lora=tmp_path / "te.safetensors", lora_scale=0.5)


def test_from_the_command_line(parent, adapter, tmp_path, capsys):
    folder, _ = parent
    words = ["sample", folder, "--n", "1", "--steps", "2", "--out", tmp_path / "o"]
    assert main([str(word) for word in [*words, "--lora", adapter, "--lora-scale", "0.8"]]) == 0
    assert main([str(word) for word in [*words, "--lora", tmp_path / "none.safetensors"]]) == 2
    assert "none.safetensors" in capsys.readouterr().err
    assert parse_lora(load_file(adapter)).base is None
