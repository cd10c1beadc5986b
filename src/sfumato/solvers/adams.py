"""Adams-Bashforth solvers: ab, lms, deis, ipndm, plms. A polynomial through the latest predictions, in σ/α or in t."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from sfumato.diffusion.prediction import Prediction
from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.solvers.first_order import first_order
from sfumato.solvers.integrals import eps_exponential, gauss, lagrange, whole
from sfumato.solvers.multistep import multistep
from sfumato.solvers.options import check_choice
from sfumato.solvers.point import Point, points_at
from sfumato.solvers.table import Row
from sfumato.solvers.terms import combine

__all__ = ["ab", "deis", "ipndm", "lms", "plms"]

FIXED = {  # Adams-Bashforth for even steps, the latest first (Hairer, Nørsett & Wanner 1993, III.1, eq. 1.5)
    1: [1.0],
    2: [3 / 2, -1 / 2],
    3: [23 / 12, -16 / 12, 5 / 12],
    4: [55 / 24, -59 / 24, 37 / 24, -9 / 24],
}


def ab(
    schedule: NoiseSchedule,
    times: np.ndarray,
    *,
    order: int = 3,
    prediction: Prediction = "eps",
    lower_order_final: bool = False,
) -> list[Row]:
    """Adams and Bashforth for uneven steps, each prediction a polynomial in the variable that its ODE is written in:
    eps in σ/α, x0 in α/σ, v in the angle atan(σ/α) (the equations stand in `multistep`)."""
    check_choice("ab", "order", order, (1, 2, 3, 4))
    check_choice("ab", "prediction", prediction, ("eps", "x0", "v"))
    variable = {"eps": lambda p: p.rho, "x0": lambda p: 1 / p.rho, "v": lambda p: p.angle}[prediction]

    def weigh(nodes: Sequence[Point], q: Point) -> list[float]:
        scale = {"eps": q.alpha, "x0": q.sigma, "v": q.norm}[prediction]
        at, weights = gauss(variable(nodes[0]), variable(q))
        return lagrange([variable(node) for node in nodes], at, scale * weights)

    return multistep(
        points_at(schedule, times),
        order,
        prediction,
        weigh,
        lower_order_final=lower_order_final,
        reaches_zero=prediction != "x0",
    )


def lms(schedule: NoiseSchedule, times: np.ndarray, *, order: int = 4, lower_order_final: bool = False) -> list[Row]:
    """k-diffusion's linear multistep: Adams and Bashforth on d(x/α)/dρ = ε̂ for uneven steps; `ab` with ε̂."""
    check_choice("lms", "order", order, (1, 2, 3, 4))
    return ab(schedule, times, order=order, prediction="eps", lower_order_final=lower_order_final)


def deis(
    schedule: NoiseSchedule,
    times: np.ndarray,
    *,
    order: int,
    variable: str = "t",
    lower_order_final: bool = True,
) -> list[Row]:
    """DEIS (Zhang & Chen 2023, eq. 14 and 15): ε̂ a polynomial in t (tAB), or in log ρ as diffusers has it.

    The paper counts the degree of the polynomial: its tAB2 is order 3 here.
    """
    check_choice("deis", "variable", variable, ("t", "log-rho"))

    at, gains = _noise_gained(schedule, times)

    def weigh(nodes: Sequence[Point], q: Point) -> list[float]:
        if variable == "log-rho":
            return eps_exponential(nodes, nodes[0], q)
        low, high = np.searchsorted(at, sorted((nodes[0].t, q.t)))
        sign = 1 if q.t > nodes[0].t else -1
        return lagrange([node.t for node in nodes], at[low:high], sign * q.alpha * gains[low:high])

    return multistep(
        points_at(schedule, times),
        order,
        "eps",
        weigh,
        lower_order_final=lower_order_final,
        reaches_zero=variable == "t",
    )


def _noise_gained(schedule: NoiseSchedule, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quadrature in t for ∫ … dρ: (points, rising; weights).

    Gauss and Legendre's rule between all times and the schedule's steps, where ρ is smooth.
    """
    edges = np.unique([*times, *np.arange(1, schedule.steps) / schedule.steps])
    edges = edges[(edges >= times.min()) & (edges <= times.max())]
    unit, unit_weights = np.polynomial.legendre.leggauss(8)
    half = np.diff(edges)[:, None] / 2
    at = (edges[:-1, None] + half * (unit + 1)).ravel()
    t = torch.from_numpy(at).requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(torch.exp(-schedule.log_snr(t) / 2).sum(), t)
    return at, (half * unit_weights).ravel() * slope.numpy()


def ipndm(schedule: NoiseSchedule, times: np.ndarray, *, order: int, lower_order_final: bool = False) -> list[Row]:
    """iPNDM (Zhang & Chen 2023, appendix; Liu et al. 2022 without Runge and Kutta): DDIM's step with ε̂ extrapolated by
    the weights of Adams and Bashforth for even steps, whatever the steps are. Lower orders begin.

    Its full order is reached where the steps are even in σ/α; elsewhere it is 2.
    """
    return multistep(
        points_at(schedule, times),
        order,
        "eps",
        lambda nodes, q: [whole("eps", nodes[0], q) * c for c in FIXED[len(nodes)]],
        lower_order_final=lower_order_final,
        reaches_zero=True,
    )


def plms(schedule: NoiseSchedule, times: np.ndarray, *, warmup: str = "heun") -> list[Row]:
    """PNDM (Liu et al. 2022): as `ipndm` of order 4, but begun with more than one call a step.

    warmup="rk": the first three steps are Runge and Kutta's, four calls each (algorithm 2, F-PNDM).
    warmup="heun": only the first step is corrected, with one more call (latent diffusion's PLMS: Rombach et al. 2022).
    A first step from pure noise is Euler's; a step to data never warms up.
    """
    check_choice("plms", "warmup", warmup, ("rk", "heun"))
    rows: list[Row] = []
    begun: list[tuple[int, Point]] = []  # (row, point) of the calls that begin a step, the latest first
    warming = 3 if warmup == "rk" else 1
    for p, q in pairwise(points_at(schedule, times)):
        if p.alpha == 0 or q.alpha == 0:
            rows.append(first_order(p, q))
            continue
        row = len(rows)
        begun = [(row, p), *begun[:3]]
        if warming and q.sigma:
            rows += _runge_kutta(schedule, p, q) if warmup == "rk" else _improved_euler(p, q)
            warming -= 1
            continue
        total = whole("eps", p, q)
        terms = [(row - made, node, total * c) for c, (made, node) in zip(FIXED[len(begun)], begun, strict=True)]
        rows.append(combine(p.t, "eps", q.alpha / p.alpha, 0, terms))
    return rows


def _improved_euler(p: Point, q: Point) -> list[Row]:
    """Euler's step, then the same step with the mean of ε̂ at both ends."""
    half = whole("eps", p, q) / 2
    return [first_order(p, q), combine(q.t, "eps", q.alpha / p.alpha, 1, [(0, q, half), (1, p, half)])]


def _runge_kutta(schedule: NoiseSchedule, p: Point, q: Point) -> list[Row]:
    """Runge and Kutta's classical step, the middle in t, each stage a step of DDIM (Liu et al. 2022, eq. 13)."""
    (middle,) = points_at(schedule, [(p.t + q.t) / 2])
    to_middle, to_end = whole("eps", p, middle), whole("eps", p, q)
    half, full = middle.alpha / p.alpha, q.alpha / p.alpha
    stages = [(3, p, to_end / 6), (2, middle, to_end / 3), (1, middle, to_end / 3), (0, q, to_end / 6)]
    return [
        combine(p.t, "eps", half, 0, [(0, p, to_middle)]),
        combine(middle.t, "eps", half, 1, [(0, middle, to_middle)]),
        combine(middle.t, "eps", full, 2, [(0, middle, to_end)]),
        combine(q.t, "eps", full, 3, stages),
    ]
