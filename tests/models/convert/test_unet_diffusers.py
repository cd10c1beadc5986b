"""Our U-Net is diffusers', number for number: UNet2DConditionModel (Stable Diffusion) and UNet2DModel (DDPM, ADM)."""

import pytest
import torch

from foreign import awake, largest_error, library, same_tensors
from sfumato.errors import InputError
from sfumato.models.convert.unet_diffusers import unet_from_diffusers, unet_to_diffusers
from sfumato.networks.config import UNetConfig
from sfumato.networks.unet import UNet

pytestmark = pytest.mark.filterwarnings("ignore")  # of diffusers about itself

TEXT = {
    "block_out_channels": (32, 64),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 16,
    "attention_head_dim": 2,
    "norm_num_groups": 8,
}
PLAIN = {
    "block_out_channels": (32, 64),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "norm_num_groups": 8,
}
ADM = {
    "block_out_channels": (32, 32, 64),
    "down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"),
    "downsample_type": "resnet",
    "upsample_type": "resnet",
    "resnet_time_scale_shift": "scale_shift",
    "attention_head_dim": 16,
    "norm_num_groups": 16,
    "attn_norm_num_groups": 16,
    "out_channels": 6,
    "num_class_embeds": 5,
}
DDPM = {"downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1, "attention_head_dim": None}
CASES = {
    "Stable Diffusion 1": ("UNet2DConditionModel", TEXT),
    "inpainting": ("UNet2DConditionModel", {**TEXT, "in_channels": 9}),
    "Stable Diffusion 2": (
        "UNet2DConditionModel",
        {**TEXT, "use_linear_projection": True, "attention_head_dim": (2, 4), "upcast_attention": True},
    ),
    "deep transformers, scaled by time": (
        "UNet2DConditionModel",
        {**TEXT, "transformer_layers_per_block": 2, "layers_per_block": 1, "resnet_time_scale_shift": "scale_shift"},
    ),
    "DDPM of Google": ("UNet2DModel", {**PLAIN, **DDPM, "norm_eps": 1e-6}),
    "defaults": ("UNet2DModel", PLAIN),
    "no attention in the middle": ("UNet2DModel", {**PLAIN, "add_attention": False, "attention_head_dim": 16}),
    "one level": (
        "UNet2DModel",
        {"block_out_channels": (32,), "down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)},
    ),
    "ADM": ("UNet2DModel", ADM),
}


def theirs(name):
    kind, options = CASES[name]
    model = awake(getattr(library("diffusers"), kind)(**options))
    return model, {**model.config, "_class_name": kind}, model.state_dict()


def call(model):
    def run(x, index, context, labels):
        return (model(x, index, context) if context is not None else model(x, index, labels)).sample

    return run


@pytest.mark.parametrize("name", CASES)
def test_puts_out_the_same_numbers(name):
    model, config, tensors = theirs(name)
    assert largest_error(*unet_from_diffusers(config, tensors), call(model)) < 1e-5


@pytest.mark.parametrize("name", CASES)
def test_comes_back_as_it_was(name):
    """Every name, shape and bit; and diffusers reads the written config.json as the one that it wrote itself."""
    model, config, tensors = theirs(name)
    ours = unet_from_diffusers(config, tensors)
    assert same_tensors(dict(UNet.from_tensors(*ours).state_dict()), ours[1])
    written, back = unet_to_diffusers(*ours, linear=config.get("use_linear_projection", False))
    assert same_tensors(back, tensors)
    again = type(model).from_config(written).config
    free = {"sample_size", "upcast_attention"} | ({"attn_norm_num_groups"} if name != "ADM" else set())
    for key, value in model.config.items():
        if not key.startswith("_") and key not in free:
            plain = list(value) if isinstance(value, tuple) else value
            assert again[key] in (value, plain), key
    assert unet_from_diffusers(written, back)[0] == ours[0]


def test_attention_by_its_old_names():
    _, config, tensors = theirs("DDPM of Google")
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    renamed = {}
    for name, value in tensors.items():
        for new, before in old.items():
            name = name.replace(f".{new}.", f".{before}.")
        renamed[name] = value
    assert same_tensors(unet_from_diffusers(config, renamed)[1], unet_from_diffusers(config, tensors)[1])
    with pytest.raises(InputError, match=r"to_q\.weight is there twice"):
        unet_from_diffusers(config, {**renamed, **tensors})


def test_half_precision_stays_half_precision():
    _, config, tensors = theirs("Stable Diffusion 1")
    halves = {name: value.half() for name, value in tensors.items()}
    assert same_tensors(unet_to_diffusers(*unet_from_diffusers(config, halves))[1], halves)


def test_no_label_is_a_row_of_zeros_and_a_trained_one_becomes_a_class():
    _, config, tensors = theirs("ADM")
    shape, ours = unet_from_diffusers(config, tensors)
    assert shape.labels == (5,)
    assert not ours["labels.0.weight"][5].any()
    ours["labels.0.weight"][5] = 1.0
    written, back = unet_to_diffusers(shape, ours)
    assert written["num_class_embeds"] == 6
    assert torch.equal(back["class_embedding.weight"], ours["labels.0.weight"])


def test_without_its_defaults_a_config_means_the_same():
    """An old config.json names only what there was when it was written."""
    _, config, tensors = theirs("DDPM of Google")
    named = ("_class_name", "block_out_channels", "down_block_types", "up_block_types", "norm_num_groups", "norm_eps")
    short = {key: config[key] for key in (*named, *DDPM)}
    assert unet_from_diffusers(short, tensors)[0] == unet_from_diffusers(config, tensors)[0]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("defaults", {"_class_name": "Transformer2D"}, "_class_name is 'Transformer2D'"),
        ("defaults", {"_class_name": ["UNet2DModel"]}, "_class_name is"),
        ("defaults", {"attention_heads": 3}, "there is no 'attention_heads' that is known here"),
        ("defaults", {"act_fn": "mish"}, "act_fn is 'mish'; our network knows only 'silu'"),
        ("defaults", {"time_embedding_type": "fourier"}, "time_embedding_type is 'fourier'"),
        ("defaults", {"freq_shift": 1}, r"\(flip_sin_to_cos, freq_shift\) is \(True, 1\)"),
        ("defaults", {"downsample_padding": 2}, "downsample_padding is 2"),
        ("defaults", {"upsample_type": "resnet"}, "in different ways: conv, resnet"),
        ("defaults", {"time_embedding_dim": 64}, "time_embedding_dim must be 128"),
        ("defaults", {"down_block_types": ["SkipDownBlock2D"] * 2}, r"down_block_types\[0\] is 'SkipDownBlock2D'"),
        ("defaults", {"up_block_types": ["UpBlock2D"] * 2}, r"up_block_types\[0\] is 'UpBlock2D', which is not"),
        ("defaults", {"up_block_types": ["UpBlock2D"]}, "differ in length"),
        ("defaults", {"block_out_channels": [32, 48]}, "multiples of the first"),
        ("defaults", {"block_out_channels": [0, 0]}, "at least 1"),
        ("defaults", {"block_out_channels": "32"}, "block_out_channels must be of type"),
        ("defaults", {"norm_num_groups": 0}, "at least 1"),
        ("defaults", {"norm_num_groups": 24}, "norm_num_groups 24 does not divide"),
        ("defaults", {"attention_head_dim": [8, 16]}, "attention_head_dim must be the same on all levels"),
        ("defaults", {"attention_head_dim": 7}, "does not divide"),
        ("ADM", {"attn_norm_num_groups": None}, "attn_norm_num_groups must be 16"),
        ("Stable Diffusion 1", {"num_attention_heads": 4}, "num_attention_heads is 4"),
        ("Stable Diffusion 1", {"addition_embed_type": "text_time"}, "addition_embed_type is 'text_time'"),
        ("Stable Diffusion 1", {"attention_head_dim": [2, 8]}, "neither number nor width of heads is constant"),
        ("Stable Diffusion 1", {"attention_head_dim": [2, 4, 8]}, "one for each level"),
        ("Stable Diffusion 1", {"transformer_layers_per_block": [1, 2]}, "must be the same on all levels"),
        ("Stable Diffusion 1", {"mid_block_type": None}, "mid_block_type is None"),
    ],
)
def test_a_config_that_we_cannot_be_is_refused_by_name(name, change, message):
    _, config, tensors = theirs(name)
    with pytest.raises(InputError, match=message):
        unet_from_diffusers({**config, **change}, tensors)


def test_tensors_that_do_not_fit_are_named():
    _, config, tensors = theirs("Stable Diffusion 1")
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    with pytest.raises(InputError, match=rf"UNet2DConditionModel: {name} is missing \(1 tensors missing, 0 too many"):
        unet_from_diffusers(config, {k: v for k, v in tensors.items() if k != name})
    with pytest.raises(InputError, match=r"there is no place for add_embedding\.weight"):
        unet_from_diffusers(config, {**tensors, "add_embedding.weight": torch.zeros(3)})
    with pytest.raises(InputError, match=rf"{name} has the shape \(32, 24\), not \(32, 16\)"):
        unet_from_diffusers(config, {**tensors, name: torch.zeros(32, 24)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch": 2}, "no place for patches"),
        ({"time_steps": None}, "are told the index of the step"),
        ({"labels": (2, 3)}, "no place for two kinds of labels"),
        ({"context": 8, "vocabulary": 9, "tokens": 4}, "no place for a text encoder"),
        ({"context": 8, "mid_attention": False}, "always attend in the middle"),
        ({"context": 8, "resample": "residual", "attention_levels": (0,)}, "by convolutions where they attend"),
        ({"groups": 5}, "needs 5 groups to divide every width"),
        ({"heads": 2, "head_channels": None, "attention_levels": (0, 1)}, r"2 heads have \[4, 8\]"),
    ],
)
def test_a_network_that_diffusers_cannot_be_is_refused_by_name(change, message):
    base = {"channels": 8, "multipliers": (1, 2), "attention_levels": (1,), "head_channels": 4, "groups": 4}
    base["time_steps"] = 1000
    config = UNetConfig(**{**base, **change})
    with pytest.raises(InputError, match=message):
        unet_to_diffusers(config, UNet(config).state_dict())
