"""The peak memory of sampling, measured beside what `sfumato info --memory` predicts.

Every case is a fresh process: its VmHWM, reset once everything is imported and one small picture made, less its
resident memory then. Models of random weights are written into a temporary folder (5 GB). Run by
`make evidence-memory`; writes bench/results/memory.json after every case; exits 1 when a prediction is off by more than
15 % and by more than an allocator keeps for itself (64 MiB), but for one case where it is known to keep more.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import platform
import re
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "bench")]  # for `foreign`, `sd15`

RESULT = ROOT / "bench" / "results" / "memory.json"
BOUND, KEPT_MIB = 0.15, 64
KNOWN = dict.fromkeys(
    (
        "middle, 512x512, batch 1, offload disk",
        "middle, 512x512, batch 1, fused False, most_scores 4194304",
    ),
    "glibc keeps freed memory; see the same case with malloc 1048576",
)
SMALL_TEXT = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4, "num_attention_heads": 4}

PLAIN: dict = {}
ONE = {"together": False}
HALF = {"dtype": "bfloat16"}
DISK = {"offload": "disk"}
UNFUSED = {"fused": False}
CHUNKED = {"fused": False, "most_scores": 1 << 22}
# glibc, which by default keeps freed pieces below 32 MiB once it has freed one, gives back all above 1 MiB
MALLOC, RETURNED = "MALLOC_MMAP_THRESHOLD_", {"malloc": "1048576"}

CASES = (
    *(("emoji", 32, 64, way) for way in (PLAIN, ONE, HALF)),
    *(("middle", 256, 1, way) for way in (PLAIN, ONE, HALF, {"dtype": "float16"}, DISK, HALF | DISK, UNFUSED, CHUNKED)),
    *(
        ("middle", 512, 1, way)
        for way in (PLAIN, DISK, RETURNED, RETURNED | DISK, UNFUSED, CHUNKED, RETURNED | CHUNKED)
    ),
    ("middle", 256, 4, PLAIN),
    *(("stable-diffusion-1.5", 256, 1, way) for way in (PLAIN, ONE, DISK, HALF | DISK | ONE)),
    *(("stable-diffusion-1.5", 512, 1, way) for way in (PLAIN, DISK)),
)


def status(name: str) -> int:
    """Bytes."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def write_models(folder: Path) -> None:
    """Two models of Stable Diffusion's kind, with random weights."""
    import transformers

    import sd15
    from foreign import awake, tiny_tokenizer
    from sfumato.conditioning.frozen import frozen_spec
    from sfumato.diffusion.config import ScheduleConfig
    from sfumato.models.folder import save_folder
    from sfumato.models.parts import Parts
    from sfumato.models.spec import ModelSpec, SamplingDefaults
    from sfumato.networks.autoencoder import Autoencoder
    from sfumato.networks.autoencoder_config import AutoencoderConfig
    from sfumato.networks.config import UNetConfig
    from sfumato.networks.unet import UNet

    tokenizer = transformers.CLIPTokenizer.from_pretrained(tiny_tokenizer(folder / "letters", length=77))
    shape = {"in_channels": 4, "attention_levels": (0, 1, 2), "blocks": 2, "multipliers": (1, 2, 4, 4)}
    shape |= {"heads": 8, "head_channels": None, "time_embedding": "shift", "time_steps": 1000}
    for name, channels, width, text in (
        ("middle", 128, 64, sd15.TEXT | SMALL_TEXT),
        ("stable-diffusion-1.5", 320, 128, sd15.TEXT),
    ):
        encoder = folder / f"{name}-text"
        tokenizer.save_pretrained(encoder)
        awake(transformers.CLIPTextModel(transformers.CLIPTextConfig.from_dict(text))).save_pretrained(encoder)
        unet = UNetConfig(**shape, channels=channels, context=text["hidden_size"])
        autoencoder = AutoencoderConfig(channels=width, latent_scale=(0.18215,))
        spec = ModelSpec(
            name,
            unet,
            ScheduleConfig("scaled-linear", zero_terminal_snr=False),
            "eps",
            (512, 512),
            text=frozen_spec("clip", encoder, 77, dropout=0.1),
            autoencoder=autoencoder,
            sampling=SamplingDefaults("ddim", 1, guidance_scale=7.5),
        )
        parts = Parts(random_state(Autoencoder, autoencoder), encoder)
        save_folder(folder / name, spec, random_state(UNet, unet), "raw", parts=parts)


def random_state(kind, config) -> dict:
    import torch

    with torch.device("meta"):
        places = kind(config).state_dict()
    draw = torch.Generator().manual_seed(0)
    state = {}
    for name, place in places.items():
        spread = 0.02 if place.ndim < 2 else 0.5 * place[0].numel() ** -0.5
        state[name] = spread * torch.randn(place.shape, generator=draw) + float("norm" in name and place.ndim == 1)
    return state


def measured(source: str, size: int, batch: int, options: dict) -> dict:
    """One case in this process: bytes above the baseline, and the prediction."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from transformers import AutoTokenizer, CLIPTextModel  # noqa: F401  (they belong to the baseline)

    import sfumato as sf
    from sfumato.generation.guidance import Guidance
    from sfumato.generation.memory import Way, predict, text_numbers
    from sfumato.generation.request import Request
    from sfumato.models.shipped import find_folder

    warnings.filterwarnings("ignore")
    way = Way((size, size), batch, **{key: value for key, value in options.items() if key != "malloc"})
    sf.load("emoji", dtype=way.dtype).sample(1, steps=1)  # threads, and code that is loaded or made when first needed
    Path("/proc/self/clear_refs").write_text("5")
    before, started = status("VmRSS"), time.perf_counter()
    model = sf.load(source, dtype=way.dtype, offload=way.offload, most_scores=way.most_scores)
    request = Request(1, "ddim", "trailing", size=(size, size), guidance=Guidance(together=way.together))
    with contextlib.nullcontext() if way.fused else sdpa_kernel(SDPBackend.MATH):
        images = model.make(request, batch, prompt="a cat" if model.spec.text else None, batch=batch)
    peak, seconds = status("VmHWM") - before, time.perf_counter() - started
    found = predict(model.spec, way, text_numbers(model.spec, find_folder(source)))
    return {
        "measured_mib": round(peak / 2**20),
        "predicted_mib": round(found.peak / 2**20),
        "relative_error": round(found.peak / peak - 1, 3),
        "predicted_at": found.turn,
        "seconds": round(seconds, 1),
        "spread_of_levels": round(float(images.array.std()), 1),
        "options": options,
    }


def alone(function, *arguments):
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def main() -> int:
    import torch

    result = {
        "command": "python bench/memory.py",
        "what": "peak resident memory of load and 1 guided step of ddim, above that after imports; MiB",
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}",
        "bound": BOUND,
        "bound_mib": KEPT_MIB,
        "known_beyond": KNOWN,
        "cases": {},
    }
    with tempfile.TemporaryDirectory() as name:
        alone(write_models, Path(name))
        for model, size, batch, options in CASES:
            source = model if model == "emoji" else str(Path(name) / model)
            os.environ |= {MALLOC: options["malloc"]} if "malloc" in options else {}
            found = alone(measured, source, size, batch, options)
            os.environ.pop(MALLOC, None)
            what = ", ".join(f"{key} {value}" for key, value in options.items()) or "plain"
            result["cases"][f"{model}, {size}x{size}, batch {batch}, {what}"] = found
            print(model, size, batch, what, json.dumps(found), flush=True)
            RESULT.write_text(json.dumps(result, indent=1) + "\n")
    beyond = {
        name
        for name, case in result["cases"].items()
        if abs(case["relative_error"]) > BOUND and abs(case["measured_mib"] - case["predicted_mib"]) > KEPT_MIB
    }
    return int(not beyond <= KNOWN.keys())


if __name__ == "__main__":
    sys.exit(main())
