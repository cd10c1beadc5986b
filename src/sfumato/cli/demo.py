"""`sfumato demo`: the whole road in a few minutes, with nothing but what is in the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sfumato.errors import InputError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Demo"]

PROMPTS = [
    "red heart, fluent style",
    "green heart",
    "happy cat",
    "fire engine",
    "grinning face, noto style",
    "umbrella, fluent-flat style",
    "deciduous tree, noto-v1 style",
    "pig face",
]


@dataclass(frozen=True)
class Demo:
    """Sample a shipped model, train a small fresh one on real pictures, watch noise become picture, draw prompts."""

    out: Path = Path("demo")
    """folder for everything; an earlier demo in it is replaced"""
    pictures: int = 40_000
    """length of the fresh training, in pictures: two to three minutes on two cores"""
    data: str = "emoji/smileys,noto,fluent,fluent-flat"
    """what the fresh model learns"""
    size: int = 16
    """side of its pictures"""

    def run(self) -> None:
        """Four things, each in a picture."""
        import shutil
        import time

        import numpy as np

        from sfumato.data.sources import open_data
        from sfumato.files import check_writable
        from sfumato.generation.model import load
        from sfumato.generation.provenance import MARK
        from sfumato.generation.strip import steps_strip
        from sfumato.images import Images, save_png
        from sfumato.networks.config import UNetConfig
        from sfumato.training import TrainConfig, train

        check_writable(self.out, need_bytes=50_000_000)
        run = self.out / "run"
        if run.exists() and not (run / "config.json").is_file():
            raise InputError(f"{run} exists and is no run of an earlier demo. Choose another --out.")
        shutil.rmtree(run, ignore_errors=True)
        model = load("emoji")
        started = time.perf_counter()
        images = model.sample(64, seed=0)
        print(f"1. 64 samples of the shipped model in {time.perf_counter() - started:.1f} s, 20 steps: emoji.png")
        save_png(self.out / "emoji.png", images.grid(), MARK)
        save_png(self.out / "emoji-steps.png", steps_strip(model, range(8)), MARK)

        print(f"2. Training a fresh model on {self.data} at {self.size}x{self.size}, {self.pictures:,} pictures:")
        started = time.perf_counter()
        network = UNetConfig(channels=24, multipliers=(1, 2), attention_levels=(1,), head_channels=24, patch=2)
        train(
            TrainConfig(
                data=self.data,
                out=run,
                size=self.size,
                pictures=self.pictures,
                batch=16,
                lr=2e-3,
                warmup=1_000,
                cooldown=0.4,
                ema_halflife=2_000,
                network=network,
                log_every=4_000,
                checkpoint_every=max(self.pictures // 2, 1),
                sample_every=max(self.pictures // 2, 1),
            )
        )
        minutes = (time.perf_counter() - started) / 60
        fresh = load(run)
        save_png(self.out / "fresh.png", _larger(fresh.sample(64, seed=0).grid()), MARK)
        print(f"   {minutes:.1f} minutes; 64 samples of it: fresh.png")

        real = open_data(self.data, size=self.size)
        some = real.images[np.linspace(0, len(real) - 1, 64).astype(int)]
        save_png(self.out / "real.png", _larger(Images(some).grid()))
        save_png(self.out / "fresh-steps.png", _larger(steps_strip(fresh, range(8), columns=3)), MARK)
        print("3. Noise, halfway and end of eight of them side by side: fresh-steps.png (the real ones: real.png)")

        row = load("emoji-text").sample(prompt=PROMPTS, seed=0)
        save_png(self.out / "prompts.png", _larger(row.grid(columns=len(PROMPTS))), MARK)
        print(f"4. What the shipped text model makes of a row of prompts: prompts.png\n   {'; '.join(PROMPTS)}")
        print(f"All results: {self.out.resolve()}")


def _larger(sheet: np.ndarray) -> np.ndarray:
    """Four times the size, pixel by pixel: pictures of 16x16 are too small to look at."""
    return sheet.repeat(4, axis=0).repeat(4, axis=1)
