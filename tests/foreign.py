"""Networks of other libraries, with random weights that let every branch take part; and ours beside them."""

from __future__ import annotations

import importlib
import json
import string

import pytest
import torch

from sfumato.models.convert.unet_diffusers import unet_from_diffusers
from sfumato.models.convert.unet_openai import unet_to_openai
from sfumato.networks.condition import Condition
from sfumato.networks.unet import UNet

STEPS = 1000
INDICES = (0, 1, 437, 999)


def library(name):
    """An optional library, or the test is skipped."""
    return pytest.importorskip(name, reason="pip install 'sfumato[test]'") and importlib.import_module(name)


def awake(module, seed=0):
    """The module with random weights: norms near one, everything else keeping the scale of what passes through."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in module.named_parameters():
            spread = 0.3 if p.ndim < 2 else p[0].numel() ** -0.5
            p.copy_(torch.randn(p.shape, generator=generator) * spread)
            if "norm" in name and name.endswith("weight"):
                p.add_(1)
    return module.eval()


def tiny_clip():
    """transformers' CLIPTextModel, small."""
    transformers = library("transformers")
    config = transformers.CLIPTextConfig(
        vocab_size=60,
        hidden_size=128,  # heads of 64, as every CLIP has
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=8,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return awake(transformers.CLIPTextModel(config))


def tiny_tokenizer(folder, length=8):
    """A tokenizer of CLIP's kind that knows single letters, as files. Texts have `length` tokens at most."""
    folder.mkdir(parents=True)
    ends = ["<|startoftext|>", "<|endoftext|>"]
    words = [*ends, *string.ascii_lowercase, ",", *(f"{letter}</w>" for letter in [*string.ascii_lowercase, ","])]
    special = {"bos_token": ends[0], **{f"{name}_token": ends[1] for name in ("eos", "unk", "pad")}}
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    facts = {"tokenizer_class": "CLIPTokenizer", "model_max_length": length, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(facts))
    return folder


def tiny_stable_diffusion(folder, inpainting=False):
    """Stable Diffusion, small, as diffusers' pipeline; its folder is written with it."""
    diffusers, transformers = library("diffusers"), library("transformers")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(tiny_tokenizer(folder.with_name(f"{folder.name}-words")))
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=9 if inpainting else 4,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=128,
        attention_head_dim=8,
        layers_per_block=1,
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(32, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )
    scheduler = diffusers.DDIMScheduler(
        1000, 0.00085, 0.012, "scaled_linear", set_alpha_to_one=False, clip_sample=False, steps_offset=1
    )
    kind = diffusers.StableDiffusionInpaintPipeline if inpainting else diffusers.StableDiffusionPipeline
    extras = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    pipeline = kind(awake(vae), tiny_clip(), tokenizer, awake(unet), scheduler, **extras)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(folder)
    return pipeline


def single_file(pipeline):
    """A pipeline's tensors as CompVis' code would have saved them."""
    facts = {**pipeline.unet.config, "_class_name": "UNet2DConditionModel"}
    unet = unet_to_openai(*unet_from_diffusers(facts, pipeline.unet.state_dict()))
    text = {name.removeprefix("text_model."): value for name, value in pipeline.text_encoder.state_dict().items()}
    return {
        **{f"model.diffusion_model.{name}": value for name, value in unet.items()},
        **{f"first_stage_model.{name}": value for name, value in compvis_autoencoder(pipeline.vae).items()},
        **{f"cond_stage_model.transformer.text_model.{name}": value for name, value in text.items()},
        "betas": pipeline.scheduler.betas,
        "alphas_cumprod": pipeline.scheduler.alphas_cumprod,
    }


def compvis_autoencoder(vae):
    """The tensors of an AutoencoderKL by CompVis' names."""
    last = len(vae.encoder.down_blocks) - 1
    result = {}
    for name, value in vae.state_dict().items():
        head, _, rest = name.partition(".")
        rest = rest.replace("mid_block.attentions.0", "mid.attn_1").replace("group_norm", "norm")
        rest = rest.replace("mid_block.resnets.0", "mid.block_1").replace("mid_block.resnets.1", "mid.block_2")
        rest = rest.replace("to_out.0", "proj_out").replace("conv_norm_out", "norm_out")
        for layer in "qkv":
            rest = rest.replace(f"to_{layer}", layer)
        rest = rest.replace("conv_shortcut", "nin_shortcut").replace("resnets", "block")
        rest = rest.replace("down_blocks", "down").replace("downsamplers.0", "downsample")
        for rank in range(last + 1):
            rest = rest.replace(f"up_blocks.{rank}", f"up.{last - rank}")
        rest = rest.replace("upsamplers.0", "upsample")
        square = "attn_1" in rest and value.ndim == 2
        result[f"{head}.{rest}" if rest else head] = value[:, :, None, None] if square else value
    return result


def noisy(config, side=16, n=2):
    """Pictures for a network, and what else it is to be told."""
    x = torch.randn(n, config.in_channels, side, side)
    context = torch.randn(n, 7, config.context) if config.context else None
    labels = torch.arange(n)[:, None] % config.labels[0] if config.labels else None
    return x, context, labels


@torch.no_grad()
def largest_error(config, tensors, theirs, side=16):
    """The largest relative error of our network over several times.

    Args:
        theirs: (pictures, index of the step, context, classes) -> output.
    """
    network = UNet.from_tensors(config, tensors)
    x, context, labels = noisy(config, side)
    errors = []
    for i in INDICES:
        expected = theirs(x, i, context, None if labels is None else labels[:, 0])
        found = network(x, (i + 1) / STEPS, Condition(labels=labels, context=context))
        errors.append(((found - expected).norm() / expected.norm()).item())
    return max(errors)


def same_tensors(a, b):
    """Whether two dictionaries hold the same names, shapes and bits."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in a)
