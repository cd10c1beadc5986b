"""Stable Diffusion's single file is taken apart without a tensor lost unnoticed."""

import pytest
import torch
from safetensors.torch import save_file

from foreign import same_tensors, tiny_clip
from sfumato.errors import InputError
from sfumato.models.convert.single_file import split

UNET = {"input_blocks.0.0.weight": torch.ones(2), "time_embed.0.bias": torch.ones(3)}
VAE = {"encoder.conv_in.weight": torch.ones(4), "loss.logvar": torch.ones(1)}
TEXT = {
    "text_model.embeddings.token_embedding.weight": torch.ones(5),
    "text_model.final_layer_norm.bias": torch.ones(6),
}
WHOLE = {
    **{f"model.diffusion_model.{name}": value for name, value in UNET.items()},
    **{f"first_stage_model.{name}": value for name, value in VAE.items()},
    **{f"cond_stage_model.transformer.{name}": value for name, value in TEXT.items()},
    "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77),
    "betas": torch.ones(7),
    "alphas_cumprod": torch.ones(7),
    "sqrt_recipm1_alphas_cumprod": torch.ones(7),
    "scale_factor": torch.tensor(0.25),
}
AVERAGES = {
    "model_ema.diffusion_modelinput_blocks00weight": torch.full((2,), 0.5),
    "model_ema.diffusion_modeltime_embed0bias": torch.full((3,), 0.5),
    "model_ema.decay": torch.tensor(0.9999),
    "model_ema.num_updates": torch.tensor(3),
}


def test_every_part_by_its_own_names():
    parts = split(WHOLE)
    assert same_tensors(parts.unet, UNET)
    assert same_tensors(parts.autoencoder, VAE)
    assert same_tensors(parts.text, TEXT)
    assert parts.which == "raw"
    assert parts.scale == 0.25
    assert parts.betas is WHOLE["betas"]
    assert parts.dropped == {"tables of its schedule": 2, "what changes no number": 1}


def test_a_file_of_the_network_alone():
    parts = split({f"model.diffusion_model.{name}": value for name, value in UNET.items()})
    assert same_tensors(parts.unet, UNET)
    assert (parts.autoencoder, parts.text, parts.betas, parts.scale, parts.dropped) == ({}, {}, None, None, {})


def test_averages_come_before_raw_weights():
    parts = split({**WHOLE, **AVERAGES})
    assert parts.which == "average"
    assert all((value == 0.5).all() for value in parts.unet.values())
    assert parts.dropped["weights beside their averages"] == 2
    missing = "model_ema.diffusion_modeltime_embed0bias"
    with pytest.raises(
        InputError, match=f"{missing} is missing, the average of model.diffusion_model.time_embed.0.bias"
    ):
        split({name: value for name, value in {**WHOLE, **AVERAGES}.items() if name != missing})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("conditioner.embedders.0.transformer.text_model.a", "Stable Diffusion XL"),
        ("cond_stage_model.model.ln_final.weight", "OpenCLIP's text encoder"),
        ("control_model.time_embed.0.weight", "this file is a ControlNet"),
        ("lora_unet_a", "there is no place for lora_unet_a"),
        ("cond_stage_model.other", "there is no place for cond_stage_model.other"),
    ],
)
def test_another_kind_of_file_is_named(name, message):
    with pytest.raises(InputError, match=message):
        split({**WHOLE, name: torch.ones(1)})
    with pytest.raises(InputError, match=r"nothing in it begins with model\.diffusion_model\."):
        split({"betas": torch.ones(3)})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("inner", ["text_model.", ""])
def test_transformers_reads_the_text_encoder(tmp_path, inner):
    """Whatever names its version has in memory: the published ones are read by all."""
    model = tiny_clip()
    state = {name.removeprefix("text_model."): value for name, value in model.state_dict().items()}
    parts = split(
        {
            "model.diffusion_model.a": torch.ones(1),
            **{f"cond_stage_model.transformer.{inner}{name}": value for name, value in state.items()},
        }
    )
    save_file(parts.text, tmp_path / "model.safetensors")
    model.config.save_pretrained(tmp_path)
    assert same_tensors(dict(type(model).from_pretrained(tmp_path).state_dict()), dict(model.state_dict()))
