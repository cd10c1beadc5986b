"""Merged LoRA is the sum of two paths, W·x + scale·(alpha/rank)·up(down(x)), whoever wrote the file."""

import json
import re

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from foreign import awake, noisy, same_tensors, tiny_clip
from sfumato.errors import InputError
from sfumato.models.convert.lora import merged_text, merged_unet, parse_lora, read_lora
from sfumato.networks.condition import Condition
from sfumato.networks.config import UNetConfig
from sfumato.networks.unet import UNet

RANK, ALPHA, SCALE = 3, 2.0, 0.7
TEXT = UNetConfig(
    in_channels=4, channels=8, multipliers=(1, 2), attention_levels=(0,), heads=2, groups=4, norm_eps=1e-5, context=6
)
PLAIN = UNetConfig(channels=8, multipliers=(1, 2), attention_levels=(1,), head_channels=4, groups=4)
# diffusers' name, CompVis' name, ours, and the rows of ours that it is
LAYERS = {
    TEXT: [
        ("conv_in", "input_blocks.0.0", "enter", slice(None)),
        ("time_embedding.linear_2", "time_embed.2", "time.2", slice(None)),
        ("down_blocks.0.resnets.0.conv1", "input_blocks.1.0.in_layers.2", "down.0.block.conv1", slice(None)),
        ("down_blocks.1.resnets.0.conv_shortcut", "input_blocks.3.0.skip_connection", "down.2.block.skip", slice(None)),
        ("down_blocks.0.downsamplers.0.conv", "input_blocks.2.0.op", "down.1.conv", slice(None)),
        ("down_blocks.0.attentions.0.proj_in", "input_blocks.1.1.proj_in", "down.0.attention.enter", slice(None)),
        *(
            (
                f"down_blocks.0.attentions.0.transformer_blocks.0.{theirs}",
                f"input_blocks.1.1.transformer_blocks.0.{theirs}",
                f"down.0.attention.blocks.0.{ours}",
                slice(None),
            )
            for theirs, ours in (
                ("attn1.to_q", "self_attention.query"),
                ("attn2.to_v", "cross_attention.value"),
                ("attn2.to_out.0", "cross_attention.out"),
                ("ff.net.0.proj", "feed_forward.enter"),
                ("ff.net.2", "feed_forward.leave"),
            )
        ),
        ("mid_block.resnets.1.time_emb_proj", "middle_block.2.emb_layers.1", "middle.1.block.embed", slice(None)),
        ("up_blocks.0.upsamplers.0.conv", "output_blocks.1.1.conv", "up.2.conv", slice(None)),
    ],
    PLAIN: [
        ("mid_block.attentions.0.to_q", None, "middle.0.attention.qkv", slice(0, 16)),
        ("mid_block.attentions.0.to_k", None, "middle.0.attention.qkv", slice(16, 32)),
        ("up_blocks.0.attentions.1.to_v", None, "up.1.attention.qkv", slice(32, 48)),
        ("up_blocks.0.attentions.0.to_out.0", None, "up.0.attention.out", slice(None)),
    ],
}
STYLES = ["kohya", "kohya, CompVis", "peft", "peft, default", "old diffusers", "oldest diffusers"]


def name_of(style, theirs, compvis, part):
    """How a tensor of a layer of the U-Net is called in a file of this style."""
    up = part == "up"
    if style.startswith("kohya"):
        layer = compvis if "CompVis" in style else theirs
        return f"lora_unet_{layer.replace('.', '_')}.lora_{part}.weight"
    if style.startswith("peft"):
        return f"unet.{theirs}.lora_{'B' if up else 'A'}{'.default' if 'default' in style else ''}.weight"
    if style == "oldest diffusers" and (attention := re.fullmatch(r"(.*)\.(to_q|to_k|to_v|to_out)(\.0)?", theirs)):
        return f"{attention[1]}.processor.{attention[2]}_lora.{part}.weight"
    return f"unet.{theirs}.lora.{part}.weight"


def updates(config, network):
    """Random up and down for every layer."""
    result = []
    for theirs, compvis, ours, rows in LAYERS[config]:
        weight = network.get_submodule(ours).weight[rows]
        if weight.ndim == 4 and weight.shape[-1] == 1 and ".attention." in ours:
            weight = weight[:, :, 0, 0]  # a linear layer elsewhere
        down = torch.randn(RANK, *weight.shape[1:])
        up = torch.randn(len(weight), RANK, *[1] * (weight.ndim - 2))
        result.append((theirs, compvis, ours, rows, down, up))
    return result


def file_of(config, network, style="kohya", alpha=True):
    tensors = {}
    for theirs, compvis, _, _, down, up in updates(config, network):
        tensors[name_of(style, theirs, compvis, "down")] = down
        tensors[name_of(style, theirs, compvis, "up")] = up
        if alpha:
            layer = name_of(style, theirs, compvis, "up").split(".lora_")[0]
            tensors[f"{layer}.alpha"] = torch.tensor(ALPHA)
    return tensors


def two_paths(network, layer, rows, down, up, factor):
    """From now on the layer also puts out factor·up(down(x)), computed as written."""

    def add(module, args, output):
        (x,) = args
        if isinstance(module, torch.nn.Conv2d):
            kernel = down if down.ndim == 4 else down[:, :, None, None]
            low = F.conv2d(x, kernel, stride=module.stride, padding=module.padding)
            extra = F.conv2d(low, up if up.ndim == 4 else up[:, :, None, None])
            output[:, rows] += factor * extra
            return output
        return output + factor * F.linear(F.linear(x, down), up)

    network.get_submodule(layer).register_forward_hook(add)


@pytest.mark.parametrize(
    ("config", "style"),
    # CompVis' names have queries, keys and values of networks without text as one
    [(config, style) for config in LAYERS for style in STYLES if config is TEXT or "CompVis" not in style],
)
def test_is_the_sum_of_two_paths(config, style):
    network, alpha = awake(UNet(config)), style.startswith("kohya")
    x, context, _ = noisy(config, side=8)
    condition = Condition(context=context)
    torch.manual_seed(3)
    tensors = file_of(config, network, style, alpha)
    state = merged_unet(config, network.state_dict(), parse_lora(tensors), SCALE)
    found = UNet.from_tensors(config, state)(x, 0.3, condition)
    before = network(x, 0.3, condition)
    torch.manual_seed(3)
    for _, _, ours, rows, down, up in updates(config, network):
        two_paths(network, ours, rows, down, up, SCALE * (ALPHA / RANK if alpha else 1.0))
    expected = network(x, 0.3, condition)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert (expected - before).norm() > 0.05 * before.norm()


def test_nothing_at_scale_0_and_back_again():
    network = awake(UNet(TEXT))
    network.enter.weight.data[0] = -0.0  # which 0 times anything would turn into +0
    state, lora = dict(network.state_dict()), parse_lora(file_of(TEXT, network))
    unchanged = merged_unet(TEXT, state, lora, 0.0)
    assert same_tensors(unchanged, state)
    assert unchanged["enter.weight"][0].signbit().all()
    there = merged_unet(TEXT, state, lora, SCALE)
    back = merged_unet(TEXT, there, lora, -SCALE)
    changed = [name for name in state if not torch.equal(there[name], state[name])]
    assert len(changed) == len(LAYERS[TEXT])
    for name in state:
        torch.testing.assert_close(back[name], state[name], rtol=0, atol=1e-6)
    assert same_tensors(dict(network.state_dict()), state)  # what was given is as it was


def test_half_precision_stays_half_precision():
    network = awake(UNet(TEXT))
    lora = parse_lora(file_of(TEXT, network))
    state = {name: value.half() for name, value in network.state_dict().items()}
    full = merged_unet(TEXT, {name: value.float() for name, value in state.items()}, lora)
    for name, value in merged_unet(TEXT, state, lora).items():
        assert torch.equal(value, full[name].half()), name


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("style", ["kohya", "peft", "old diffusers"])
@pytest.mark.parametrize("prefix", ["", "text_model."])
def test_text_encoders(style, prefix):
    model = tiny_clip()
    state = {f"{prefix}{name.removeprefix('text_model.')}": value for name, value in model.state_dict().items()}
    words, tensors = torch.randint(20, (2, 8)), {}
    inner = {name.removeprefix("text_model."): name for name, _ in model.named_modules()}
    for layer in ("encoder.layers.1.self_attn.q_proj", "encoder.layers.0.mlp.fc1"):
        weight = model.get_submodule(inner[layer]).get_parameter("weight")
        down, up = torch.randn(RANK, weight.shape[1]), torch.randn(len(weight), RANK)
        name = {
            "kohya": "lora_te_text_model_" + layer.replace(".", "_") + ".lora_{a}.weight",
            "peft": "text_encoder.text_model." + layer + ".lora_{b}.weight",
            "old diffusers": "text_encoder.text_model." + layer + ".lora_linear_layer.{a}.weight",
        }[style]
        tensors[name.format(a="down", b="A")], tensors[name.format(a="up", b="B")] = down, up
        two_paths(model, inner[layer], slice(None), down, up, SCALE)
    found = merged_text(state, parse_lora(tensors), SCALE)
    other = type(model)(model.config)
    with torch.no_grad():
        expected = model(words).last_hidden_state
        by_name = {name.removeprefix("text_model."): value for name, value in found.items()}
        other.load_state_dict({name: by_name[name.removeprefix("text_model.")] for name in other.state_dict()})
        torch.testing.assert_close(other.eval()(words).last_hidden_state, expected, rtol=1e-4, atol=1e-5)


def test_the_header_of_a_file_may_hold_alpha(tmp_path):
    network = awake(UNet(TEXT))
    tensors, state = file_of(TEXT, network, "peft", alpha=False), network.state_dict()
    save_file(tensors, tmp_path / "plain.safetensors")
    adapter = {"unet.lora_alpha": 2 * RANK, "unet.r": RANK, "unet.alpha_pattern": {}}
    save_file(tensors, tmp_path / "told.safetensors", {"lora_adapter_metadata": json.dumps(adapter)})
    plain, told = (read_lora(tmp_path / f"{name}.safetensors") for name in ("plain", "told"))
    twice = merged_unet(TEXT, state, plain, 2.0)
    for name, value in merged_unet(TEXT, state, told, 1.0).items():
        torch.testing.assert_close(value, twice[name])
    for wrong, message in (
        ({"unet.alpha_pattern": {"to_q": 3}}, "an alpha for each layer"),
        ({"unet.lora_alpha": "2"}, "lora_alpha in its header is '2'"),
    ):
        save_file(tensors, tmp_path / "odd.safetensors", {"lora_adapter_metadata": json.dumps(wrong)})
        with pytest.raises(InputError, match=rf"odd\.safetensors: .*{message}"):
            read_lora(tmp_path / "odd.safetensors")


GOOD = "lora_unet_mid_block_resnets_0_conv1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({f"{GOOD}.lora_mid.weight": torch.ones(3, 3)}, r"conv1\.lora_mid\.weight is no part of a LoRA"),
        ({f"{GOOD}.hada_w1_a": torch.ones(3, 3)}, r"hada_w1_a is no part"),
        ({"lora_unet_conv_out.lora_up.weight": torch.ones(3, 3)}, "conv_out has up, but an update needs down and up"),
        ({f"{GOOD}.lora_A.weight": torch.ones(3, 3)}, "has that part already"),
        ({f"{GOOD}.lora_up.weight": torch.ones(16, 2, 1, 1)}, "do not fit together"),
        ({f"{GOOD}.lora_up.weight": torch.ones(16, 3, 3, 3)}, "do not fit together"),
        ({f"{GOOD}.lora_down.weight": torch.ones(3)}, "do not fit together"),
        ({f"{GOOD}.lora_down.weight": torch.ones(0, 16, 3, 3)}, "do not fit together"),
        ({f"{GOOD}.alpha": torch.ones(2)}, "alpha is one number"),
        ({f"{GOOD}.alpha": torch.tensor(float("nan"))}, "conv1 holds NaN or infinity"),
        (
            {f"{GOOD}.lora_down.weight": torch.ones(3, 32, 3, 3)},
            rf"for another model: {GOOD} changes a weight \(16, 32, 3, 3\), but this U-Net has \(16, 16, 3, 3\)",
        ),
        ({f"{GOOD}.lora_down.weight": torch.ones(3, 16, 1, 1)}, r"changes a weight \(16, 16, 1, 1\)"),
        (
            {"lora_te2_a.lora_up.weight": torch.ones(3, 3), "lora_te2_a.lora_down.weight": torch.ones(3, 3)},
            "for another model: lora_te2_a is no layer of this U-Net",
        ),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    good = {f"{GOOD}.lora_down.weight": torch.ones(3, 16, 3, 3), f"{GOOD}.lora_up.weight": torch.ones(16, 3, 1, 1)}
    state = UNet(TEXT).state_dict()
    merged_unet(TEXT, state, parse_lora(good))
    with pytest.raises(InputError, match=message):
        merged_unet(TEXT, state, parse_lora({**good, **change}))
    with pytest.raises(InputError, match="a number, not nan"):
        merged_unet(TEXT, state, parse_lora(good), float("nan"))


def test_pickles_are_not_read(tmp_path):
    with pytest.raises(InputError, match=r"a\.pt: LoRA is read from \.safetensors files only"):
        read_lora(tmp_path / "a.pt")
