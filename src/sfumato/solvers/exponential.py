"""Exponential multistep solvers: dpm-solver, dpmpp, unipc. A polynomial through the latest predictions in log(α/σ)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.solvers.first_order import first_order
from sfumato.solvers.integrals import eps_exponential, midpoint, whole, x0_exponential, x0_whole
from sfumato.solvers.multistep import looked_at, multistep
from sfumato.solvers.options import check_choice
from sfumato.solvers.point import Point, points_at
from sfumato.solvers.table import Row

__all__ = ["dpm_solver_multistep", "dpmpp_2m", "dpmpp_3m", "unipc"]


def dpm_solver_multistep(
    schedule: NoiseSchedule, times: np.ndarray, *, order: int, lower_order_final: bool = True
) -> list[Row]:
    """DPM-Solver (Lu et al. 2022), multistep: ε̂ extrapolated in ℓ. Order 1 is DDIM.

    Order 2 takes ε̂ at the middle of the step (as DPM-Solver++(2M) takes x̂0); order 3 integrates the parabola exactly.
    """

    def weigh(nodes: Sequence[Point], q: Point) -> list[float]:
        if order == 2:
            return midpoint(whole("eps", nodes[0], q), nodes, q)
        return eps_exponential(nodes, nodes[0], q)

    return multistep(points_at(schedule, times), order, "eps", weigh, lower_order_final=lower_order_final)


def dpmpp_2m(
    schedule: NoiseSchedule, times: np.ndarray, *, order: int = 2, lower_order_final: bool = False
) -> list[Row]:
    """DPM-Solver++(2M) (Lu et al. 2022b, algorithm 2), in h = step of ℓ:

        x_s = (σ_s/σ_t)·x_t + α_s·(1 - e^{-h})·((1 + 1/2r)·x̂0_i - 1/2r·x̂0_{i-1}),   r = h_{i-1}/h_i

    First order where there is no past (the first step, and the one after a step from zero SNR, which was infinite),
    where the step itself is infinite (to t = 0), or with `order` = 1, which is DDIM.
    """
    check_choice("dpmpp-2m", "order", order, (1, 2))
    return multistep(
        points_at(schedule, times),
        order,
        "x0",
        lambda nodes, q: midpoint(x0_whole(nodes[0], q), nodes, q),
        lower_order_final=lower_order_final,
    )


def dpmpp_3m(schedule: NoiseSchedule, times: np.ndarray, *, lower_order_final: bool = True) -> list[Row]:
    """DPM-Solver++ multistep of order 3: x̂0 a parabola in ℓ, integrated exactly (Lu et al. 2022b, eq. 8).

    The formula that went into the authors' code, diffusers and k-diffusion has half the weight of the second
    difference, and so is of order 2; see docs/solvers.md.
    """
    return multistep(
        points_at(schedule, times),
        3,
        "x0",
        lambda nodes, q: x0_exponential(nodes, nodes[0], q),
        lower_order_final=lower_order_final,
    )


def unipc(
    schedule: NoiseSchedule,
    times: np.ndarray,
    *,
    order: int,
    variant: str = "bh2",
    corrector: str = "on",
    lower_order_final: bool = True,
) -> list[Row]:
    """UniPC (Zhao et al. 2023, algorithms 5 and 8): a predictor of order p and a corrector that costs no call.

    The predictor takes x̂0 for the polynomial in ℓ through the latest p calls. The corrector takes the same step once
    more, when the call at its end is known, through that one too; so it only adds the difference of the weights, and
    folds into the next row. B(h) of the paper cancels out of both except where the paper sets a single coefficient to
    1/2: in the predictor of order 2 and the corrector of order 1. There B(h) = h is variant="bh1", e^h - 1 "bh2".
    """
    check_choice("unipc", "variant", variant, ("bh1", "bh2"))
    check_choice("unipc", "corrector", corrector, ("on", "off"))
    points = points_at(schedule, times)
    rows: list[Row] = []
    past: tuple[Sequence[Point], Sequence[float]] | None = None  # nodes and weights of the step before, if correctable
    for i, (p, q) in enumerate(pairwise(points)):
        correction = [0.0]
        if past is not None and corrector == "on":
            nodes, predicted = past
            corrected = _unic([p, *nodes], nodes[0], p, variant)
            correction = [new - old for new, old in zip(corrected, [0.0, *predicted], strict=True)]
        nodes = looked_at(points, i, order, lower_order_final)
        single = first_order(p, q)
        weights = list(single.d) if len(nodes) == 1 else _unip(nodes, q, variant)
        past = (nodes, weights) if p.alpha and q.sigma else None
        window = max(len(correction), len(weights))
        kept = single.x[0]
        d = [kept * a + b for a, b in zip(_padded(correction, window), _padded(weights, window), strict=True)]
        rows.append(Row(p.t, [kept], d))
    return rows


def _unip(nodes: Sequence[Point], q: Point, variant: str) -> list[float]:
    if len(nodes) != 2:
        return x0_exponential(nodes, nodes[0], q)
    h, before = q.ell - nodes[0].ell, nodes[0].ell - nodes[1].ell
    total = x0_whole(nodes[0], q)
    difference = (q.alpha * h if variant == "bh1" else total) / 2 * h / before
    return [total + difference, -difference]


def _unic(nodes: Sequence[Point], p: Point, q: Point, variant: str) -> list[float]:
    """Weights for the nodes, of which the first is q, in the step from p to q."""
    if len(nodes) != 2:
        return x0_exponential(nodes, p, q)
    total = x0_whole(p, q)
    half = (q.alpha * (q.ell - p.ell) if variant == "bh1" else total) / 2
    return [half, total - half]


def _padded(values: Sequence[float], length: int) -> list[float]:
    return [*values, *[0.0] * (length - len(values))]
