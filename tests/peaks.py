"""Measures what trainings take, one after the other, as JSON. Used by test_footprint, in a process of its own."""

import gc
import json
from pathlib import Path

import torch

from sfumato.memory import Peak, return_freed_memory
from sfumato.networks.config import UNetConfig
from sfumato.training.config import TrainConfig
from sfumato.training.trial import Trial

NETWORKS = {  # and pictures at once
    "wide": (UNetConfig(channels=64, multipliers=(1, 2), attention_levels=(1,), labels=(4,)), 32),
    "flat": (UNetConfig(channels=32, multipliers=(1, 2, 2), attention_levels=(), dropout=0.1), 64),
}
CASES = {f"{name}, {way}": (name, way == "checkpointed") for name in NETWORKS for way in ("plain", "checkpointed")}


def asked(name: str, recomputes: bool) -> TrainConfig:
    network, count = NETWORKS[name]
    given = {"batch": count, "gradient_checkpointing": recomputes, "size": 32, "device": "cpu", "threads": 1}
    return TrainConfig(data="", out=Path(), network=network, **given)


def main() -> None:
    torch.set_num_threads(1)
    Trial(asked("flat", False)).step(1)  # so that libraries have what they keep
    found = {}
    for case, which in CASES.items():
        gc.collect()
        return_freed_memory()
        peak, config = Peak(torch.device("cpu")), asked(*which)
        trial = Trial(config)
        trial.step(config.batch)
        trial.step(config.batch)  # now with AdamW's moments there
        found[case] = peak.bytes()
        del trial
    print(json.dumps(found))


if __name__ == "__main__":
    main()
