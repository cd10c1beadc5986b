"""Trainings by name, as published. A preset gives defaults; whatever is said besides overrides it. Imports no torch.

What differs from the source stands with each: nothing is silently "almost" a paper's training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sfumato.diffusion.config import ScheduleConfig
from sfumato.errors import InputError, nearest
from sfumato.networks.config import UNetConfig
from sfumato.training.objective_config import ObjectiveConfig

__all__ = ["PRESETS", "Preset", "as_options", "preset"]


@dataclass(frozen=True)
class Preset:
    """A training.

    Attributes:
        source: the paper and the code that it is from.
        differs: in what it is not that.
        options: of `TrainConfig`.
    """

    source: str
    differs: str
    options: Mapping[str, Any]


def preset(name: str) -> Preset:
    """A preset by name. Raises `InputError` with the nearest name for an unknown one."""
    if name not in PRESETS:
        raise InputError(f"no preset {name!r}. {nearest(name, PRESETS)}")
    return PRESETS[name]


def _halflife(rate: float, batch: int) -> int:
    """In pictures, of an average that keeps the share `rate` at each step."""
    return round(batch * math.log(0.5) / math.log(rate))


PLAIN = {  # Adam as in nearly all papers: no warm-up, no decay, no clipping, no ramp of the average
    "warmup": 0,
    "cooldown": 0.0,
    "beta2": 0.999,
    "clip": 1e9,
    "ema_rampup": 1e9,
    "log_every": 50_000,
    "checkpoint_every": 500_000,
    "sample_every": 1_000_000,
}

PRESETS: dict[str, Preset] = {
    "ddpm-cifar10": Preset(
        source="Ho et al. 2020, appendix B, and its code (scripts/run_cifar.py)",
        differs="nothing that is known",
        options={
            **PLAIN,
            "data": "cifar10",
            "size": 32,
            "network": UNetConfig.ddpm_cifar10(),
            "schedule": ScheduleConfig("linear", 1000, zero_terminal_snr=False),
            "prediction": "eps",
            "pictures": 800_000 * 128,
            "batch": 128,
            "lr": 2e-4,
            "warmup": 5_000 * 128,
            "clip": 1.0,
            "flip": True,
            "unlabelled": True,
            "ema_halflife": _halflife(0.9999, 128),
        },
    ),
    "iddpm-cifar10": Preset(
        source="Nichol & Dhariwal 2021, and its code (the flags of cifar10_uncond_50M_500K: L_hybrid, cosine)",
        differs="a step's time is embedded a quarter of a unit later, at its end; nothing else that is known",
        options={
            **PLAIN,
            "data": "cifar10",
            "size": 32,
            "network": UNetConfig(
                channels=128,
                multipliers=(1, 2, 2, 2),
                blocks=3,
                attention_levels=(1, 2),
                heads=4,
                dropout=0.3,
                norm_eps=1e-5,
                time_encoding="adm",
            ),
            "schedule": ScheduleConfig("cosine", 4000, zero_terminal_snr=False),
            "prediction": "eps",
            "objective": ObjectiveConfig(variance="interpolated"),
            "pictures": 500_000 * 128,
            "batch": 128,
            "lr": 1e-4,
            "unlabelled": True,
            "ema_halflife": _halflife(0.9999, 128),
        },
    ),
    "adm-64": Preset(
        source="Dhariwal & Nichol 2021, its table of hyper-parameters and its code (the flags of 64x64_diffusion)",
        differs="10% of the labels are dropped, for classifier-free guidance (--label-dropout 0: as theirs)",
        options={
            **PLAIN,
            "size": 64,
            "network": UNetConfig(
                channels=192,
                multipliers=(1, 2, 3, 4),
                blocks=3,
                attention_levels=(1, 2, 3),
                head_channels=64,
                dropout=0.1,
                norm_eps=1e-5,
                resample="residual",
                time_encoding="adm",
                time_steps=1000,
                labels=(1000,),
            ),
            "schedule": ScheduleConfig("cosine", 1000, zero_terminal_snr=False),
            "prediction": "eps",
            "objective": ObjectiveConfig(variance="interpolated"),
            "pictures": 540_000 * 2048,
            "batch": 2048,
            "lr": 3e-4,
            "flip": True,
            "ema_halflife": _halflife(0.9999, 2048),
            "checkpoint_every": 5_000_000,
            "sample_every": 20_000_000,
        },
    ),
    "edm-cifar10": Preset(
        source="Karras et al. 2022, unconditional, and its code (the defaults of train.py: ddpmpp, edm)",
        differs="mirrored pictures instead of its augmentations; the residual blocks are ADM's, not scaled by √½; "
        "noise levels beyond σ = 80 are put there; c_noise is embedded a thousand times larger",
        options={
            **PLAIN,
            "data": "cifar10",
            "size": 32,
            "network": UNetConfig(
                channels=128,
                multipliers=(2, 2, 2),
                blocks=4,
                attention_levels=(1,),
                head_channels=None,
                dropout=0.13,
                time_embedding="shift",
                resample="residual",
            ),
            "schedule": ScheduleConfig("edm", 1000, zero_terminal_snr=False),
            "prediction": "F",
            "objective": ObjectiveConfig(times="log-normal"),
            "pictures": 200_000_000,
            "batch": 512,
            "lr": 1e-3,
            "warmup": 10_000_000,
            "flip": True,
            "unlabelled": True,
            "ema_halflife": 500_000,
            "ema_rampup": 0.05,
        },
    ),
    "emoji": Preset(
        source="the shipped model: README.md says how it was trained, and how well it does",
        differs="nothing",
        options={
            "data": "emoji/smileys,animals,food,noto,noto-v1,fluent,fluent-flat",
            "size": 32,
            "network": UNetConfig(channels=32, multipliers=(2, 3, 4), patch=2),
            "pictures": 215_000,
            "batch": 16,
            "cooldown": 0.4,
            "warmup": 5_000,
            "ema_halflife": 10_000,
            "threads": 2,
            "checkpoint_every": 10_000,
            "sample_every": 40_000,
        },
    ),
}


def as_options(name: str) -> dict[str, Any]:
    """A preset's options as plain values, as a TOML file would have them; the run's folder is runs/NAME."""
    nested = (UNetConfig, ScheduleConfig, ObjectiveConfig)
    options = preset(name).options.items()
    plain = {key: asdict(value) if isinstance(value, nested) else value for key, value in options}
    return {"out": f"runs/{name}", **plain}
