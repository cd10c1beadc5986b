"""`Model`: what `sfumato.load` returns. It turns seeds and labels into pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sfumato._version import __version__
from sfumato.diffusion.process import Diffusion
from sfumato.errors import InputError
from sfumato.guidance.classifier_free import classifier_free
from sfumato.images import Images
from sfumato.models.folder import load_folder
from sfumato.models.shipped import find_folder
from sfumato.models.spec import ModelSpec
from sfumato.networks.unet import UNet
from sfumato.seeds import Stream, check_seed, noise
from sfumato.solvers import Denoiser, Step, Table, get, steps

__all__ = ["Model", "Request", "load", "seeds_from"]

Label = str | Sequence[str] | None


def seeds_from(n: int, seed: int | Sequence[int]) -> list[int]:
    """The seed of every picture: seed, seed + 1, … for a number, or the given ones. So picture i of `seed=s` is the
    picture of seed s + i, alone or in any batch."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise InputError(f"the number of pictures is a whole number, at least 1, not {n!r}")
    if isinstance(seed, int | np.integer):
        return [check_seed(int(seed) + i) for i in range(n)]
    if len(seed) != n:
        raise InputError(f"{len(seed)} seeds for {n} pictures")
    return [check_seed(s) for s in seed]


@dataclass(frozen=True)
class Request:
    """How pictures are asked for. What is None is the model's default.

    Attributes:
        steps: solver steps.
        solver: a name from `solvers.names()`, or a `Table` of one's own.
        spacing: of the steps.
        guidance_scale: w of classifier-free guidance; 1 is none.
        size: (height, width).
        clip: keep every x̂0 within [-1, 1], the range of pictures.
        options: of the solver, such as (("eta", 0.5),).
    """

    steps: int | None = None
    solver: str | Table | None = None
    spacing: str | None = None
    guidance_scale: float | None = None
    size: tuple[int, int] | None = None
    clip: bool = True
    options: tuple[tuple[str, float | str], ...] = ()


class Model:
    """A trained model, ready to sample. Make one with `sfumato.load`.

    Attributes:
        spec: everything `model.json` says.
        network: the U-Net, in evaluation mode.
        diffusion: schedule and prediction.
    """

    def __init__(self, spec: ModelSpec, network: UNet, device: torch.device | str = "cpu") -> None:
        self.spec = spec
        self.device = torch.device(device)
        self.network = network.to(self.device)
        self.diffusion = Diffusion(spec.schedule.build(), spec.prediction)

    def table(self, request: Request) -> Table:
        """The solver's table for a request, with the model's defaults filled in."""
        if isinstance(request.solver, Table):
            return request.solver
        default = self.spec.sampling
        solver = request.solver or default.get("solver", "dpmpp-2m")
        spacing = request.spacing or (default.get("spacing") if solver == default.get("solver") else None)
        steps = default.get("steps", 20) if request.steps is None else request.steps
        return get(solver, self.diffusion.schedule, steps, spacing, None, **dict(request.options))

    def guidance_scale(self, request: Request) -> float:
        """w for a request: its own, or the model's default."""
        given = request.guidance_scale
        scale = float(self.spec.sampling.get("guidance_scale", 1.0) if given is None else given)
        if scale != 1 and self.spec.labels.kinds and self.spec.labels.dropout == 0:
            raise InputError(
                "guidance needs a model trained with label dropout; this one was not. Use guidance_scale=1."
            )
        return scale

    def denoiser(self, labels: Tensor, guidance_scale: float = 1.0, clip: bool = True) -> Denoiser:
        """(x_t, t) -> x̂0 for pictures with these labels (N, K)."""

        @torch.no_grad()
        def conditional(x: Tensor, t: float, rows: Tensor) -> Tensor:
            return self.diffusion.denoised(self.network(x, t, rows), x, t)

        guided = classifier_free(conditional, labels.to(self.device), guidance_scale)
        return (lambda x, t: guided(x, t).clamp(-1, 1)) if clip else guided

    def start(self, seeds: Sequence[int], size: tuple[int, int] | None = None) -> Tensor:
        """The noise that these seeds start from: (N, C, H, W) on the model's device."""
        height, width = size or self.spec.size
        self.network.config.check_size(height, width)
        shape = (self.network.config.in_channels, height, width)
        return noise(seeds, shape, Stream.START).to(self.device) * self.diffusion.schedule.prior_scale

    def label_rows(self, label: Label | np.ndarray, seeds: Sequence[int]) -> np.ndarray:
        """(N, K) label indices: of a name; drawn as in the training data for None; or checked as given."""
        if isinstance(label, np.ndarray):
            if label.shape != (len(seeds), len(self.spec.labels.kinds)):
                raise InputError(f"labels must have the shape ({len(seeds)}, {len(self.spec.labels.kinds)})")
            return label
        return self.spec.labels.rows(label, seeds)

    def trajectory(
        self, seeds: Sequence[int], label: Label | np.ndarray = None, request: Request | None = None
    ) -> Iterator[Step]:
        """Every step of sampling a batch, x in the network's range [-1, 1]."""
        request = request or Request()
        labels = torch.from_numpy(self.label_rows(label, seeds))
        denoise = self.denoiser(labels, self.guidance_scale(request), request.clip)
        yield from steps(denoise, self.start(seeds, request.size), self.table(request), seeds)

    def sample(
        self,
        n: int = 1,
        *,
        seed: int | Sequence[int] = 0,
        label: Label | np.ndarray = None,
        steps: int | None = None,
        solver: str | Table | None = None,
        spacing: str | None = None,
        guidance_scale: float | None = None,
        size: tuple[int, int] | None = None,
        clip: bool = True,
        batch: int = 64,
        progress: Callable[[int], None] | None = None,
        **options: float | str,
    ) -> Images:
        """Make pictures.

        Args:
            n: how many.
            seed: of the first one; the next have seed + 1, seed + 2 … Or a list with a seed for each.
            label: names such as "food" or "food, noto"; "none" for no condition; None draws for each picture labels as
                they occur in the training data. Or (n, K) indices.
            steps, solver, spacing, guidance_scale, size, clip, options: see `Request`; None is the model's default.
            batch: pictures at once. It does not change the pictures.
            progress: called with the number of pictures done after each batch.

        Returns:
            `Images`, uint8 (n, H, W, C).

        Raises:
            InputError: for an unknown label, solver, spacing or option, sizes that do not fit, seeds out of range.
            DivergedError: when a number stops being finite.
        """
        request = Request(steps, solver, spacing, guidance_scale, size, clip, tuple(options.items()))
        seeds = seeds_from(n, seed)
        rows = self.label_rows(label, seeds)
        parts = []
        for first in range(0, n, max(batch, 1)):
            part = slice(first, first + max(batch, 1))
            *_, last = self.trajectory(seeds[part], rows[part], request)
            parts.append(to_uint8(last.x))
            if progress:
                progress(min(first + batch, n))
        return Images(np.concatenate(parts), self._provenance(request, seeds, rows))

    def _provenance(self, request: Request, seeds: Sequence[int], rows: np.ndarray) -> list[dict[str, str]]:
        """For the PNG file of each picture: that a model made it, and all that is needed to make it again."""
        table = self.table(request)
        facts = {
            "model": self.spec.name,
            "weights_sha256": self.spec.weights.get("sha256"),
            "solver": table.name,
            "spacing": table.spacing,
            "steps": table.steps,
            "guidance_scale": self.guidance_scale(request),
            "size": list(request.size or self.spec.size),
            "clip": request.clip,
        }
        return [
            {
                "Software": f"sfumato {__version__}",
                "Comment": "Generated by an AI model",
                "sfumato": json.dumps({**facts, "seed": seed, "label": self.spec.labels.describe(row)}),
            }
            for seed, row in zip(seeds, rows.tolist(), strict=True)
        ]


def to_uint8(x: Tensor) -> np.ndarray:
    """(N, C, H, W) in [-1, 1] -> uint8 (N, H, W, C), rounded to the nearest level."""
    return x.add(1).mul(127.5).round().clamp(0, 255).permute(0, 2, 3, 1).to("cpu", torch.uint8).numpy()


def load(source: str | Path, device: str = "cpu") -> Model:
    """Load a model.

    Args:
        source: the name of a shipped model ("emoji"), a model folder, or the folder of a run (its "model" is taken).
        device: "cpu", "cuda" …

    Raises:
        InputError: when there is no such model or it cannot be understood; it says which file and why.
    """
    spec, network = load_folder(find_folder(source))
    return Model(spec, network, device)
