"""Autoencoders of diffusers and CompVis give the same numbers here."""

import warnings
from dataclasses import replace

import pytest
import torch

from sfumato.errors import InputError
from sfumato.models.convert.autoencoder import (
    autoencoder_from_compvis,
    autoencoder_from_diffusers,
    autoencoder_to_diffusers,
)
from sfumato.networks.autoencoder import Autoencoder
from sfumato.networks.autoencoder_config import AutoencoderConfig

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

DOWN, UP = "DownEncoderBlock2D", "UpDecoderBlock2D"
SD1 = {  # the config.json of Stable Diffusion 1.5's autoencoder
    "_class_name": "AutoencoderKL",
    "_diffusers_version": "0.6.0",
    "act_fn": "silu",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": [DOWN] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 512,
    "up_block_types": [UP] * 4,
}
SMALL = {**SD1, "block_out_channels": [8, 16], "down_block_types": [DOWN] * 2, "up_block_types": [UP] * 2}
SMALL |= {"norm_num_groups": 4, "layers_per_block": 1}
SHAPES = {
    "as Stable Diffusion": {**SMALL, "layers_per_block": 2},
    "four levels": {
        **SMALL,
        "block_out_channels": [4, 8, 8, 16],
        "down_block_types": [DOWN] * 4,
        "up_block_types": [UP] * 4,
    },
    "as Flux": {
        **SMALL,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
        "latent_channels": 16,
        "shift_factor": 0.1159,
        "scaling_factor": 0.3611,
    },
    "attention on a level, grey, none in the middle": {
        **SMALL,
        "block_out_channels": [8, 8, 24],
        "down_block_types": [DOWN, "AttnDownEncoderBlock2D", DOWN],
        "up_block_types": [UP, "AttnUpDecoderBlock2D", UP],
        "in_channels": 1,
        "out_channels": 1,
        "mid_block_add_attention": False,
    },
    "one level": {**SMALL, "block_out_channels": [8], "down_block_types": [DOWN], "up_block_types": [UP]},
    "own mean and spread for each channel": {
        **SMALL,
        "latents_mean": [-1.6, 0.5, 0.0, 2.0],
        "latents_std": [8.4, 5.0, 4.0, 2.5],
        "scaling_factor": 0.5,
    },
}


def theirs(config):
    """diffusers' network with every weight random."""
    net = AutoencoderKL(**{key: value for key, value in config.items() if not key.startswith("_")}).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * (0.3 if p.ndim > 1 else 0.5) + (p.ndim == 1))
    return net.requires_grad_(False)


def same(found, expected, tolerance=1e-5):
    """Equal to the tolerance, relative to the largest number there."""
    scale = expected.abs().max().item()
    assert scale > 1e-3
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * scale)


def check_against(ours, net):
    x = torch.randn(2, ours.config.in_channels, 5 * ours.factor, 3 * ours.factor)
    expected = net.encode(x, return_dict=False)[0]
    posterior = ours.encode(x)
    same(posterior.mean, expected.mean)
    same(posterior.log_variance, expected.logvar)
    same(posterior.sample(torch.ones_like(posterior.mean)), expected.mean + expected.std)
    assert torch.equal(posterior.mode, posterior.mean)
    z = torch.randn_like(expected.mean)
    same(ours.decode(z), net.decode(z, return_dict=False)[0])


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_the_numbers_are_those_of_diffusers_and_the_way_back_loses_nothing(config):
    net = theirs(config)
    shape, tensors = autoencoder_from_diffusers(net.state_dict(), config)
    ours = Autoencoder.from_tensors(shape, tensors)
    check_against(ours, net)
    back, said = autoencoder_to_diffusers(shape, ours.state_dict())
    assert sorted(back) == sorted(net.state_dict())
    assert all(torch.equal(back[name], value) for name, value in net.state_dict().items())
    again, once_more = autoencoder_from_diffusers(back, said)
    assert replace(again, latent_scale=(1.0,)) == replace(shape, latent_scale=(1.0,))
    assert again.latent_scale == pytest.approx(shape.latent_scale, rel=1e-15)
    assert all(torch.equal(once_more[name], value) for name, value in tensors.items())
    theirs(said).load_state_dict(back)


def test_kl_is_that_of_diffusers():
    net = theirs(SMALL)
    ours = Autoencoder.from_tensors(*autoencoder_from_diffusers(net.state_dict(), SMALL))
    x = torch.randn(3, 3, 8, 8)
    torch.testing.assert_close(ours.encode(x).kl(), net.encode(x, return_dict=False)[0].kl(), rtol=1e-5, atol=0)


def test_latents_are_scaled_as_the_pipelines_do():
    """Stable Diffusion z·s; Flux (z - shift)·s; with mean and spread of each channel (z - mean)·s/std."""
    z = torch.randn(2, 4, 3, 3)
    expected = {
        "as Stable Diffusion": z * 0.18215,
        "own mean and spread for each channel": (z - torch.tensor([-1.6, 0.5, 0.0, 2.0])[:, None, None])
        * 0.5
        / torch.tensor([8.4, 5.0, 4.0, 2.5])[:, None, None],
    }
    for name, latents in expected.items():
        ours = Autoencoder(autoencoder_from_diffusers(theirs(SHAPES[name]).state_dict(), SHAPES[name])[0])
        torch.testing.assert_close(ours.to_latents(z), latents)
        torch.testing.assert_close(ours.from_latents(latents), z)
    flux = Autoencoder(autoencoder_from_diffusers(theirs(SHAPES["as Flux"]).state_dict(), SHAPES["as Flux"])[0])
    z = torch.randn(1, 16, 2, 2)
    torch.testing.assert_close(flux.to_latents(z), (z - 0.1159) * 0.3611)


def old_style(tensors):
    """The names that most stored autoencoders have."""
    words = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    result = {}
    for name, value in tensors.items():
        for new, old in words.items():
            name = name.replace(f".{new}.", f".{old}.")
        result[name] = value
    return result


def test_old_names_of_attention():
    net = theirs(SMALL)
    old = old_style(net.state_dict())
    assert "encoder.mid_block.attentions.0.proj_attn.weight" in old
    for one, other in zip(
        autoencoder_from_diffusers(old, SMALL)[1].values(),
        autoencoder_from_diffusers(net.state_dict(), SMALL)[1].values(),
        strict=True,
    ):
        assert torch.equal(one, other)
    with pytest.raises(InputError, match="is there twice"):
        autoencoder_from_diffusers({**old, **net.state_dict()}, SMALL)


def test_the_defaults_are_stable_diffusion_1():
    with torch.device("meta"):
        net = AutoencoderKL(**{k: v for k, v in SD1.items() if not k.startswith("_")})
        expected = Autoencoder(AutoencoderConfig()).state_dict()
    tensors = {name: torch.zeros(value.shape) for name, value in net.state_dict().items()}
    shape, ours = autoencoder_from_diffusers(tensors, SD1)
    assert shape == AutoencoderConfig(latent_scale=(0.18215,))
    assert Autoencoder(replace(shape, channels=8)).factor == 8
    assert {name: value.shape for name, value in ours.items()} == {n: v.shape for n, v in expected.items()}
    assert sum(value.numel() for value in ours.values()) == 83_653_863  # as published


def compvis(widths, blocks, attention_levels=(), latent=4, prefix="first_stage_model."):
    """Random tensors with the names and shapes that CompVis' Encoder and Decoder define (model.py, written out)."""
    generator, found = torch.Generator().manual_seed(4), {}

    def put(name, *shape):
        found[f"{prefix}{name}.weight"] = torch.randn(shape, generator=generator) * 0.3 + (len(shape) == 1)
        found[f"{prefix}{name}.bias"] = torch.randn(shape[0], generator=generator) * 0.5

    def block(name, a, b):
        put(f"{name}.norm1", a)
        put(f"{name}.conv1", b, a, 3, 3)
        put(f"{name}.norm2", b)
        put(f"{name}.conv2", b, b, 3, 3)
        if a != b:
            put(f"{name}.nin_shortcut", b, a, 1, 1)

    def attention(name, c):
        put(f"{name}.norm", c)
        for layer in ("q", "k", "v", "proj_out"):
            put(f"{name}.{layer}", c, c, 1, 1)

    put("encoder.conv_in", widths[0], 3, 3, 3)
    width = widths[0]
    for i, target in enumerate(widths):
        for j in range(blocks):
            block(f"encoder.down.{i}.block.{j}", width, target)
            width = target
            if i in attention_levels:
                attention(f"encoder.down.{i}.attn.{j}", width)
        if i != len(widths) - 1:
            put(f"encoder.down.{i}.downsample.conv", width, width, 3, 3)
    for half in ("encoder", "decoder"):
        block(f"{half}.mid.block_1", width, width)
        attention(f"{half}.mid.attn_1", width)
        block(f"{half}.mid.block_2", width, width)
    put("encoder.norm_out", width)
    put("encoder.conv_out", 2 * latent, width, 3, 3)
    put("quant_conv", 2 * latent, 2 * latent, 1, 1)
    put("post_quant_conv", latent, latent, 1, 1)
    put("decoder.conv_in", width, latent, 3, 3)
    for i in reversed(range(len(widths))):
        for j in range(blocks + 1):
            block(f"decoder.up.{i}.block.{j}", width, widths[i])
            width = widths[i]
            if i in attention_levels:
                attention(f"decoder.up.{i}.attn.{j}", width)
        if i != 0:
            put(f"decoder.up.{i}.upsample.conv", width, width, 3, 3)
    put("decoder.norm_out", width)
    put("decoder.conv_out", 3, width, 3, 3)
    return found


@pytest.mark.parametrize(
    ("widths", "levels"), [((32, 64, 64), ()), ((32, 32), (1,))], ids=["three levels", "with attention"]
)
def test_the_numbers_are_those_of_compvis_by_diffusers_own_conversion(widths, levels):
    """The tensors named as CompVis does, converted by diffusers to its own network, and by us to ours."""
    tensors = compvis(widths, 1, levels)
    attends = [i in levels for i in range(len(widths))]
    config = {
        **SMALL,
        "norm_num_groups": 32,
        "block_out_channels": list(widths),
        "down_block_types": ["AttnDownEncoderBlock2D" if a else DOWN for a in attends],
        "up_block_types": ["AttnUpDecoderBlock2D" if a else UP for a in reversed(attends)],
    }
    net = theirs(config)
    # that conversion knows no attention on the levels
    net.load_state_dict(by_hand(tensors, len(widths)) if levels else convert_ldm_vae_checkpoint(tensors, config))
    whole = {**tensors, "model.diffusion_model.out.2.bias": torch.zeros(4), "betas": torch.zeros(2)}
    shape, ours = autoencoder_from_compvis(whole)
    assert shape.latent_scale == (0.18215,)
    assert shape.attention_levels == levels
    check_against(Autoencoder.from_tensors(shape, ours), net)
    bare = {name.removeprefix("first_stage_model."): value for name, value in tensors.items()}
    again, others = autoencoder_from_compvis({**bare, "loss.logvar": torch.zeros(())}, scale=0.13025)
    assert again == replace(shape, latent_scale=(0.13025,))
    assert all(torch.equal(others[name], value) for name, value in ours.items())


def by_hand(tensors, levels):
    result = {}
    for name, value in tensors.items():
        name = name.removeprefix("first_stage_model.")
        name = name.replace("norm_out", "conv_norm_out").replace("nin_shortcut", "conv_shortcut")
        name = name.replace("mid.attn_1", "mid_block.attentions.0")
        for i in (1, 2):
            name = name.replace(f"mid.block_{i}", f"mid_block.resnets.{i - 1}")
        for i in range(levels):
            name = name.replace(f".down.{i}.block", f".down_blocks.{i}.resnets")
            name = name.replace(f".down.{i}.attn", f".down_blocks.{i}.attentions")
            name = name.replace(f".down.{i}.downsample", f".down_blocks.{i}.downsamplers.0")
            name = name.replace(f".up.{i}.block", f".up_blocks.{levels - 1 - i}.resnets")
            name = name.replace(f".up.{i}.attn", f".up_blocks.{levels - 1 - i}.attentions")
            name = name.replace(f".up.{i}.upsample", f".up_blocks.{levels - 1 - i}.upsamplers.0")
        if "attentions" in name:
            for old, new in {".norm.": ".group_norm.", ".q.": ".to_q.", ".k.": ".to_k.", ".v.": ".to_v."}.items():
                name = name.replace(old, new)
            name = name.replace("proj_out", "to_out.0")
            value = value[:, :, 0, 0] if value.ndim == 4 else value
        result[name] = value
    return result


def test_missing_and_unknown_tensors_are_told():
    tensors = theirs(SMALL).state_dict()
    few = {name: value for name, value in tensors.items() if name != "encoder.conv_in.bias"}
    with pytest.raises(InputError, match=r"encoder.conv_in.bias is missing \(1 tensors missing, 0 too many\)"):
        autoencoder_from_diffusers(few, SMALL)
    with pytest.raises(InputError, match=r"no place for encoder.surprise \(0 tensors missing, 1 too many\)"):
        autoencoder_from_diffusers({**tensors, "encoder.surprise": torch.zeros(1)}, SMALL)
    name = "encoder.mid_block.attentions.0.to_k.weight"
    with pytest.raises(InputError, match=f"{name} has the shape"):
        autoencoder_from_diffusers({**tensors, name: tensors[name][:3]}, SMALL)
    with pytest.raises(InputError, match=f"{name} holds NaN"):
        autoencoder_from_diffusers({**tensors, name: tensors[name] / 0}, SMALL)
    shape, ours = autoencoder_from_diffusers(tensors, SMALL)
    with pytest.raises(InputError, match="no place for surprise"):
        autoencoder_to_diffusers(shape, {**ours, "surprise": torch.zeros(1)})
    with pytest.raises(InputError, match=r"encoder.enter.weight is missing"):
        autoencoder_to_diffusers(shape, {k: v for k, v in ours.items() if k != "encoder.enter.weight"})
    with pytest.raises(InputError, match=r"encoder.conv_in.weight is missing"):
        autoencoder_from_compvis(tensors | {"encoder.conv_in.weight": torch.zeros(3)})
    old = compvis((32,), 1)
    with pytest.raises(InputError, match=r"no place for decoder.surprise"):
        autoencoder_from_compvis({**old, "first_stage_model.decoder.surprise": torch.zeros(1)})
    with pytest.raises(InputError, match=r"its levels are \[\] wide"):
        autoencoder_from_compvis({k: v for k, v in old.items() if ".down." not in k})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_class_name": "AutoencoderTiny"}, "one of 'AutoencoderTiny'"),
        ({"surprise": 1}, "there is no 'surprise'"),
        ({"act_fn": "relu"}, "act_fn is 'relu'"),
        ({"out_channels": 1}, "out_channels 1 differs"),
        ({"use_quant_conv": False}, "only one of quant_conv"),
        ({"down_block_types": [DOWN, "Odd"]}, "known are DownEncoderBlock2D"),
        ({"up_block_types": ["AttnUpDecoderBlock2D", UP]}, "do not mirror"),
        ({"block_out_channels": [8]}, "1 block_out_channels for 2"),
        ({"block_out_channels": [8, 12]}, "no multiples of the first"),
        ({"latents_mean": [0.0] * 4}, "only one of latents_mean and latents_std"),
        ({"latents_mean": [0.0] * 4, "latents_std": [1.0] * 4, "shift_factor": 1.0}, "are both there"),
        ({"latents_mean": [0.0] * 3, "latents_std": [1.0] * 3}, "one for each of the 4 latent channels, not 3"),
        ({"layers_per_block": "2"}, "layers_per_block must be of type int"),
    ],
)
def test_configs_that_cannot_be_followed(changes, message):
    with pytest.raises(InputError, match=message):
        autoencoder_from_diffusers({}, {**SMALL, **changes})


def test_a_first_level_wider_than_the_entrance_has_no_place_in_diffusers():
    shape = AutoencoderConfig(channels=4, multipliers=(2, 2), groups=4)
    with pytest.raises(InputError, match=r"here multipliers\[0\] is 2"):
        autoencoder_to_diffusers(shape, Autoencoder(shape).state_dict())
