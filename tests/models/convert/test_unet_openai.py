"""Our U-Net is ADM, against a second opinion; and Stable Diffusion's by its first names, against diffusers."""

import pytest
import torch

import openai_reference
from foreign import awake, largest_error, library, same_tensors
from sfumato.errors import InputError
from sfumato.models.convert.unet_diffusers import unet_from_diffusers
from sfumato.models.convert.unet_openai import unet_from_openai, unet_to_openai
from sfumato.networks.config import UNetConfig
from sfumato.networks.unet import UNet

BASE = {"channels": 32, "widths": (32, 64), "blocks": 1, "attention": (1,)}
# state dict, then what it does not say
CASES = {
    "improved-diffusion": ({**BASE, "blocks": 2, "scale_shift": True, "out_channels": 6}, {"heads": 4}),
    "DDPM's way of time, heads of one width": (BASE, {"head_channels": 16}),
    "the newer order of heads": ({**BASE, "attention": (0, 1)}, {"heads": 2, "by_head": False}),
    "ADM": (
        {
            **BASE,
            "widths": (32, 64, 64),
            "attention": (1, 2),
            "scale_shift": True,
            "updown": True,
            "classes": 5,
            "out_channels": 6,
        },
        {"head_channels": 16},
    ),
    "ADM, attention at the finest level": ({**BASE, "attention": (0,), "updown": True}, {"heads": 4}),
    "upsampler": ({**BASE, "in_channels": 6}, {"heads": 1}),
    "one level": ({**BASE, "widths": (32,), "attention": ()}, {"heads": 2}),
}


@pytest.mark.parametrize("name", CASES)
def test_puts_out_the_same_numbers(name):
    shape, told = CASES[name]
    tensors = openai_reference.state(**shape)

    def theirs(x, index, context, labels):
        return openai_reference.run(tensors, x, index, labels, **told)

    assert largest_error(*unet_from_openai(tensors, **told), theirs) < 1e-5


@pytest.mark.parametrize("name", CASES)
def test_comes_back_as_it_was(name):
    shape, told = CASES[name]
    tensors = openai_reference.state(**shape)
    ours = unet_from_openai(tensors, **told)
    back = unet_to_openai(*ours, by_head=told.get("by_head", True))
    assert same_tensors(back, tensors)


def test_reads_its_shape_off_the_tensors():
    shape, told = CASES["ADM"]
    config, tensors = unet_from_openai(openai_reference.state(**shape), **told, steps=4000)
    assert config == UNetConfig(
        channels=32,
        multipliers=(1, 2, 2),
        blocks=1,
        attention_levels=(1, 2),
        head_channels=16,
        out_channels=6,
        time_embedding="scale-shift",
        norm_eps=1e-5,
        resample="residual",
        time_encoding="adm",
        time_steps=4000,
        labels=(5,),
    )
    assert not tensors["labels.0.weight"][5].any()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("linear", [False, True], ids=["Stable Diffusion 1", "Stable Diffusion 2"])
def test_stable_diffusions_first_names_are_those_that_diffusers_converts(linear):
    """diffusers has a converter of its own for these files: through it, the same tensors come out."""
    model = awake(
        library("diffusers").UNet2DConditionModel(
            block_out_channels=(32, 64, 64),
            down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=2,
            use_linear_projection=linear,
        )
    )
    facts, tensors = {**model.config, "_class_name": "UNet2DConditionModel"}, model.state_dict()
    config, ours = unet_from_diffusers(facts, tensors)
    compvis = unet_to_openai(config, ours, linear=linear)
    converter = library("diffusers.loaders.single_file_utils").convert_ldm_unet_checkpoint
    whole = {f"model.diffusion_model.{name}": value for name, value in compvis.items()}
    assert same_tensors(dict(converter(whole, facts)), tensors)
    again, back = unet_from_openai(compvis, heads=2)
    assert again == config
    assert same_tensors(back, ours)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("input_blocks.0.0.weight"), r"input_blocks\.0\.0\.weight is missing"),
        (lambda t: t.pop("middle_block.2.in_layers.2.bias"), r"middle_block\.2\.in_layers\.2\.bias is missing"),
        (lambda t: t.update({"label_emb.0.0.weight": torch.zeros(1)}), r"no place for label_emb\.0\.0\.weight"),
        (lambda t: t.update({"out.2.bias": torch.zeros(4)}), r"out\.2\.bias has the shape \(4,\), not \(3,\)"),
        (lambda t: t.update({"out.2.weight": torch.tensor(0.0)}), r"out\.2\.weight is missing, or no tensor"),
        (lambda t: [t.pop(k) for k in list(t) if k.startswith("output_blocks.3.")], "3 output_blocks do not make"),
        (lambda t: [t.pop(k) for k in list(t) if k.startswith("output_blocks.")], "do not make 1 levels"),
        (
            lambda t: t.update({"input_blocks.1.0.out_layers.3.weight": torch.zeros(40, 40, 3, 3)}),
            r"widths \[40, 64\] are no multiples",
        ),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    tensors = openai_reference.state(**BASE)
    change(tensors)
    with pytest.raises(InputError, match=message):
        unet_from_openai(tensors, heads=4)


@pytest.mark.parametrize("told", [{}, {"heads": 2, "head_channels": 16}])
def test_the_number_of_heads_must_be_told(told):
    with pytest.raises(InputError, match="give either heads or head_channels"):
        unet_from_openai(openai_reference.state(**BASE), **told)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm_eps": 1e-6}, "have norm_eps 1e-05 only, not 1e-06"),
        ({"time_encoding": "ddpm"}, "have time_encoding 'adm' only"),
        ({"time_steps": None}, "are told the index of the step"),
        ({"resample": "conv-end"}, "padded at the ends only"),
        ({"labels": (2, 3)}, "two kinds of labels"),
        ({"channels": 48, "head_channels": 16}, "multiples of 32"),
    ],
)
def test_a_network_that_theirs_cannot_be_is_refused_by_name(change, message):
    config = UNetConfig(**{"channels": 32, "norm_eps": 1e-5, "time_encoding": "adm", "time_steps": 9, **change})
    with pytest.raises(InputError, match=message):
        unet_to_openai(config, UNet(config).state_dict())
