"""What pictures cost a trained model, in bits per dimension: the variational bound, or the likelihood of its flow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch

from sfumato.data.dataset import Dataset
from sfumato.diffusion.decoder import Decoder
from sfumato.diffusion.density import dequantised, flow_likelihood
from sfumato.errors import InputError, nearest
from sfumato.evaluation.bounds import TOGETHER, AnyVariance, Calls, Progress, bounds, own_variance, whole
from sfumato.evaluation.told import ToldPictures
from sfumato.generation.model import Model
from sfumato.seeds import check_seed

__all__ = ["Estimate", "Likelihood", "bits_per_dimension"]

Method = Literal["bound", "flow"]

FLOW_STEPS = 50


class Estimate(NamedTuple):
    """A mean over pictures, and its standard error."""

    value: float
    error: float


@dataclass(frozen=True)
class Likelihood:
    """Bits per dimension of n pictures, and everything they depend on.

    Attributes:
        method: "bound": the variational bound. "flow": the probability-flow ODE, with one draw of dequantisation, so
            that it too bounds the bits of bytes, on average.
        bits: mean over the pictures.
        parts: of the bound, L_T, L_1 … L_{T-1} together, and L_0.
        n, pictures: how many of how many, drawn by the seed.
        told: what the network was told of each picture.
        steps: of the sampler whose bound it is, or of the ODE's solver.
        calls: of the network, for a picture.
        settings: what else the method depends on.
    """

    method: Method
    bits: Estimate
    parts: Mapping[str, Estimate]
    n: int
    pictures: int
    data: str
    data_fingerprint: str
    model: str
    weights: str
    weights_sha256: str
    told: str
    seed: int
    steps: int
    calls: int
    settings: Mapping[str, Any]

    def to_json(self) -> str:
        facts = asdict(self)
        facts["bits"] = self.bits._asdict()
        facts["parts"] = {name: part._asdict() for name, part in self.parts.items()}
        return json.dumps(facts, indent=1)

    def __str__(self) -> str:
        what = "variational bound" if self.method == "bound" else "probability-flow ODE"
        rows = [(f"{what}, bits per dimension", self.bits), *((f"  {name}", part) for name, part in self.parts.items())]
        width = max(len(name) for name, _ in rows)
        lines = [f"{name:<{width}}  {value:8.4f} ± {error:.4f}" for name, (value, error) in rows]
        settings = ", ".join(f"{key} {value}" for key, value in self.settings.items())
        return "\n".join(
            [
                *lines,
                f"  {self.n} of {self.pictures} pictures of {self.data} ({self.data_fingerprint[:16]}), "
                f"seed {self.seed}; ± is one standard error",
                f"  {self.model}, {self.weights} weights {self.weights_sha256[:16]}; it is told {self.told}",
                f"  {self.steps} steps, {self.calls} network calls a picture; {settings}",
            ]
        )


def bits_per_dimension(
    model: Model,
    data: Dataset,
    n: int,
    *,
    method: Method = "bound",
    steps: int | None = None,
    terms: int | None = None,
    variance: AnyVariance | None = None,
    decoder: Decoder = "erf",
    probes: int = 1,
    seed: int = 0,
    progress: Progress = None,
) -> Likelihood:
    """-log2 p of pictures of bytes under a model, by the number of their values.

    Both methods count what one would pay for a picture when what the network is told of it (its labels, its caption) is
    known already, without guidance. The bound is that of the ancestral sampler as it samples, x̂0 clipped to [-1, 1]
    (as Ho et al. counted, too); the flow is not clipped.

    Args:
        model: of pixels.
        data: pictures of the model's size; what training never saw, if it is the model that is to be judged.
        n: how many of them, at least 2.
        method: "bound" or "flow".
        steps: of the sampler, spread evenly over t; default: all T of the schedule. Fewer cost bits. Of the flow: of
            the solver of fourth order, default 50, each of 4 calls forward and back.
        terms: of the bound, drawn anew for every 16 pictures (or fewer, so that there are 16 such groups): L_0 and
            terms that are the sparser the farther from the data (`draws.strata`). Unbiased. Default: all.
        variance: of p(x_s|x_t): "small", "large" or "learned"; default: what the model has learned, or else "small".
        decoder: of L_0: "erf" exact, or "tanh" as Ho et al. counted.
        probes: of the flow's trace.
        seed: decides which pictures, noise, terms and probes. A picture's noise is its own at any n.
        progress: called after every network call.

    Raises:
        InputError: for a model of latents, data that does not fit, too few pictures, an option of the other method, or
            a learned variance of a model that has learned none, or only that of its own T steps.
        DivergedError: when the network's output is not finite.
    """
    if method not in get_args(Method):
        raise InputError(f"no method {method!r}. {nearest(method, get_args(Method))}")
    told = ToldPictures.drawn(model, data, n, check_seed(seed))
    if method == "flow":
        _leave_out("flow", terms=(terms, None), variance=(variance, None), decoder=(decoder, "erf"))
        found = _flow(told, FLOW_STEPS if steps is None else steps, probes, seed, progress)
    else:
        _leave_out("bound", probes=(probes, 1))
        found = _bound(told, steps, terms, variance or own_variance(model.spec), decoder, seed, progress)
    return Likelihood(method=method, seed=seed, **told.facts(), **found)


def _bound(
    told: ToldPictures,
    steps: int | None,
    terms: int | None,
    variance: AnyVariance,
    decoder: Decoder,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    priors, firsts, others, shape = [], [], [], (0, 0)
    for bound, sizes in bounds(told, steps, terms, variance, decoder, seed, progress):
        priors.append(bound.prior)
        firsts.append(bound.terms[:, 0])  # next to the data
        others.append(bound.terms[:, 1:] @ sizes[1:].double())
        shape = len(bound.times) - 1, len(sizes)
    groups = np.repeat(np.arange(len(priors)), [len(prior) for prior in priors])
    clusters = np.arange(len(groups)) if terms is None else groups
    prior, first, other = (torch.cat(values).numpy() for values in (priors, firsts, others))
    count, evaluated = shape
    drawn = "all" if terms is None else f"{terms}, drawn from strata for every {len(priors[0])} pictures"
    return {
        "bits": _mean(prior + first + other, clusters),
        "parts": {
            "L_T": _mean(prior, clusters),
            f"L_1 … L_{count - 1}": _mean(other, clusters),
            "L_0": _mean(first, clusters),
        },
        "steps": count,
        "calls": evaluated,
        "settings": {"terms": drawn, "variance": variance, "decoder": decoder, "x̂0": "clipped to [-1, 1]"},
    }


def _flow(told: ToldPictures, steps: int, probes: int, seed: int, progress: Progress) -> dict[str, Any]:
    n, schedule = len(told.rows), told.model.diffusion.schedule
    calls = Calls(n * (4 * whole("steps", steps) + 1), progress)
    found = []
    for first in range(0, n, TOGETHER):
        part = slice(first, first + TOGETHER)
        pairs = told.pairs(part, seed)
        x0 = dequantised(told.x0(part), pairs)
        found.append(
            flow_likelihood(schedule, calls.counted(told.denoiser(part)), x0, pairs, steps=steps, probes=probes)
        )
    bits = torch.cat([flow.byte_bits for flow in found]).numpy()
    return {
        "bits": _mean(bits, np.arange(n)),
        "parts": {},
        "steps": steps,
        "calls": found[0].calls,
        "settings": {
            "solver": "Runge-Kutta of order 4",
            "from t": found[0].start,
            "to t": found[0].end,
            "probes": probes,
            "dequantisation": "uniform, one draw",
            "x̂0": "not clipped",
        },
    }


def _mean(values: np.ndarray, clusters: np.ndarray) -> Estimate:
    """The mean over pictures, and its standard error from how far the sums over clusters stray, (n,) numbers from 0.

    With each picture its own cluster that is s/√n. Pictures for which the same terms were drawn err together.
    """
    away = np.bincount(clusters, values - values.mean())
    error = np.sqrt((away**2).sum() * len(away) / (len(away) - 1)) / len(values)
    return Estimate(float(values.mean()), float(error))


def _leave_out(method: str, **options: tuple[object, object]) -> None:
    for name, (given, default) in options.items():
        if given != default:
            raise InputError(f"the method {method!r} knows no {name}; leave it out")
