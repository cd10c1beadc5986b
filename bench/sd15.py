"""Stable Diffusion 1.5 at full size, with random weights: diffusers and transformers against what we convert of them.

Both layouts (diffusers' folder, CompVis' single file) are written, converted by `sfumato convert`, and compared part by
part. Every phase is a process of its own, so that one network is in memory at a time and its peak is its own. Run by
`make evidence-sd15`; writes bench/results/sd15.json; exits 1 when an error is above 1e-4. Needs 15 GB in the temporary
folder and about 9 GB of memory.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # for `foreign`

BOUND = 1e-4
LATENT, LOOP_LATENT = 32, 16  # sides; 64 is the size that Stable Diffusion was trained at
INDICES = (0, 250, 999)
PROMPTS, NEGATIVE, SCALE, CALLS = ("a cat, sat", "on a mat"), "", 7.5, 4
TEXT = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
    "vocab_size": 49408,
    "hidden_act": "quick_gelu",
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "sample_size": 512,
    "scaling_factor": 0.18215,
}
UNET = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}


def drawn(*shape: int, seed: int = 0):
    import torch

    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def keep(folder: Path, name: str, **tensors) -> None:
    from safetensors.torch import save_file

    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / f"{name}.safetensors")


def kept(folder: Path, name: str):
    from safetensors.torch import load_file

    return load_file(folder / f"{name}.safetensors")


def error(found, expected) -> float:
    return ((found - expected).norm() / expected.norm()).item()


# ---- what the others say ---------------------------------------------------------------------------------------------


def their_text(folder: Path) -> dict:
    import torch

    from foreign import awake, library, tiny_tokenizer

    transformers = library("transformers")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(tiny_tokenizer(folder / "letters", length=77))
    tokenizer.save_pretrained(folder / "theirs" / "tokenizer")
    model = awake(transformers.CLIPTextModel(transformers.CLIPTextConfig(**TEXT)))
    model.save_pretrained(folder / "theirs" / "text_encoder")
    ids = tokenizer([*PROMPTS, NEGATIVE], padding="max_length", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        keep(folder, "text", states=model(ids).last_hidden_state)
    return {"parameters": sum(p.numel() for p in model.parameters())}


def their_vae(folder: Path) -> dict:
    import torch

    from foreign import awake, compvis_autoencoder, library

    model = awake(library("diffusers").AutoencoderKL(**VAE))
    model.save_pretrained(folder / "theirs" / "vae")
    with torch.no_grad():
        mean = model.encode(drawn(1, 3, 128, 128).clamp(-1, 1)).latent_dist.mean
        keep(folder, "vae", mean=mean, decoded=model.decode(drawn(1, 4, LOOP_LATENT, LOOP_LATENT)).sample)
    keep(folder, "part-vae", **{f"first_stage_model.{k}": v for k, v in compvis_autoencoder(model).items()})
    return {"parameters": sum(p.numel() for p in model.parameters())}


def their_unet(folder: Path) -> dict:
    import torch

    from foreign import awake, library

    model = awake(library("diffusers").UNet2DConditionModel(**UNET))
    model.save_pretrained(folder / "theirs" / "unet")
    x, states = drawn(1, 4, LATENT, LATENT), kept(folder, "text")["states"]
    with torch.no_grad():
        outputs = {f"{i}-{k}": model(x, i, states[k : k + 1]).sample for i in INDICES for k in (0, 2)}
    keep(folder, "unet", **outputs)
    return {"parameters": sum(p.numel() for p in model.parameters())}


def their_loop(folder: Path) -> dict:
    from foreign import library

    diffusers = library("diffusers")
    scheduler = diffusers.DDIMScheduler(
        1000, 0.00085, 0.012, "scaled_linear", set_alpha_to_one=False, clip_sample=False, steps_offset=1
    )
    scheduler.save_pretrained(folder / "theirs" / "scheduler")
    parts = {
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        **{name: [None, None] for name in ("safety_checker", "feature_extractor", "image_encoder")},
    }
    index = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.35.0", **parts}
    (folder / "theirs" / "model_index.json").write_text(json.dumps({**index, "requires_safety_checker": False}))
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(folder / "theirs")
    pipeline.set_progress_bar_config(disable=True)
    started = time.perf_counter()
    latents = pipeline(
        list(PROMPTS),
        latents=drawn(2, 4, LOOP_LATENT, LOOP_LATENT),
        height=8 * LOOP_LATENT,
        width=8 * LOOP_LATENT,
        num_inference_steps=CALLS,
        guidance_scale=SCALE,
        output_type="latent",
    ).images
    keep(folder, "loop", latents=latents)
    return {"loop_seconds": round(time.perf_counter() - started, 1)}


def single_file(folder: Path) -> dict:
    """The single file; diffusers' own converter must read the U-Net and the autoencoder in it as they were."""
    import torch
    from safetensors.torch import load_file

    from foreign import library
    from sfumato.models.convert.unet_diffusers import unet_from_diffusers
    from sfumato.models.convert.unet_openai import unet_to_openai

    converters, theirs = library("diffusers.loaders.single_file_utils"), folder / "theirs"
    configs = {part: json.loads((theirs / part / "config.json").read_text()) for part in ("unet", "vae")}
    before = {part: load_file(theirs / part / "diffusion_pytorch_model.safetensors") for part in ("unet", "vae")}
    unet = unet_to_openai(*unet_from_diffusers(configs["unet"], before["unet"]))
    text = load_file(theirs / "text_encoder" / "model.safetensors")
    whole = {
        **{f"model.diffusion_model.{name}": value for name, value in unet.items()},
        **kept(folder, "part-vae"),
        **{f"cond_stage_model.transformer.text_model.{k.removeprefix('text_model.')}": v for k, v in text.items()},
    }
    read = {
        "unet": converters.convert_ldm_unet_checkpoint(whole, configs["unet"]),
        "vae": converters.convert_ldm_vae_checkpoint(whole, configs["vae"]),
    }
    for part, tensors in read.items():
        assert tensors.keys() == before[part].keys(), part
        assert all(torch.equal(tensors[name].flatten(), value.flatten()) for name, value in before[part].items()), part
    keep(folder, "single", **whole)
    return {"diffusers_converter_reads_it_as_it_was": True, "tensors": len(whole)}


# ---- what we say -----------------------------------------------------------------------------------------------------


def convert_folder(folder: Path) -> dict:
    return _convert(folder, folder / "theirs", "ours")


def convert_file(folder: Path) -> dict:
    return _convert(folder, folder / "single.safetensors", "ours-file", "--tokenizer", folder / "theirs" / "tokenizer")


def _convert(folder: Path, source: Path, name: str, *more: object) -> dict:
    from sfumato.cli.main import main

    started = time.perf_counter()
    assert main([str(word) for word in ("convert", source, "--out", folder / name, *more)]) == 0
    facts = json.loads((folder / name / "model.json").read_text())
    sums = {"weights": facts["weights"]["sha256"], **facts["files"]}
    return {"convert_seconds": round(time.perf_counter() - started, 1), "sha256": sums}


def ours(folder: Path) -> dict:
    import numpy as np
    import torch

    import sfumato as sf
    from sfumato import solvers
    from sfumato.generation.asked import Asked
    from sfumato.networks.condition import Condition

    started = time.perf_counter()
    model = sf.load(folder / "ours")
    loaded = time.perf_counter()
    texts, unets, vae = kept(folder, "text")["states"], kept(folder, "unet"), kept(folder, "vae")
    assert model.reader is not None
    assert model.autoencoder is not None
    with torch.no_grad():
        states = model.reader.read([*PROMPTS, NEGATIVE]).condition.context
        x, errors = drawn(1, 4, LATENT, LATENT), {}
        for name, expected in unets.items():
            index, text = map(int, name.split("-"))
            found = model.network(x, (index + 1) / 1000, Condition(context=texts[text : text + 1]))
            errors[f"U-Net, step {index}, {'empty text' if text == 2 else 'text'}"] = error(found, expected)
        mean = model.autoencoder.encode(drawn(1, 3, 128, 128).clamp(-1, 1)).mean
        decoded = model.autoencoder.decode(drawn(1, 4, LOOP_LATENT, LOOP_LATENT))
        begun = time.perf_counter()
        indices = [*(1000 // CALLS * k + 1 for k in reversed(range(CALLS))), 0]  # DDIM's, with an offset of 1
        table = solvers.get("ddim", model.diffusion.schedule, times=[(i + 1) / 1000 for i in indices])
        denoise = model.denoiser(Asked(np.zeros((2, 0), np.int64), PROMPTS), SCALE)
        latents = solvers.solve(denoise, drawn(2, 4, LOOP_LATENT, LOOP_LATENT), table, seeds=[0, 1])
    errors |= {
        "text encoder": error(states, texts),
        "VAE, encoded": error(mean, vae["mean"]),
        "VAE, decoded": error(decoded, vae["decoded"]),
        f"guided loop of {CALLS} steps, w = {SCALE}": error(latents, kept(folder, "loop")["latents"]),
    }
    return {
        "relative_errors": errors,
        "load_seconds": round(loaded - started, 1),
        "loop_seconds": round(time.perf_counter() - begun, 1),
    }


PHASES = (their_text, their_vae, their_unet, their_loop, single_file, convert_folder, convert_file, ours)


def measured(phase, folder: Path) -> dict:
    """One phase in this process, with its seconds and its peak memory."""
    import warnings

    warnings.filterwarnings("ignore")
    started = time.perf_counter()
    facts = phase(folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {**facts, "seconds": round(time.perf_counter() - started, 1), "peak_gib": round(peak, 2)}


def main() -> int:
    import torch

    found = {}
    with tempfile.TemporaryDirectory() as name:
        for phase in PHASES:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
                found[phase.__name__] = alone.submit(measured, phase, Path(name)).result()
            print(phase.__name__, json.dumps(found[phase.__name__]), flush=True)
    errors = found["ours"].pop("relative_errors")
    sums = [found[way].pop("sha256") for way in ("convert_folder", "convert_file")]
    same = all(sums[0][part] == sums[1][part] for part in ("weights", "autoencoder.safetensors"))
    result = {
        "command": "python bench/sd15.py",
        "what": "Stable Diffusion 1.5, full size, random weights, float32, against diffusers and transformers",
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}",
        "bound": BOUND,
        "relative_errors": errors,
        "folder_and_single_file_give_the_same_bits": same,
        "phases": found,
    }
    (ROOT / "bench" / "results" / "sd15.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(errors, indent=1))
    return 0 if same and max(errors.values()) <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
