"""Averages of the weights by a power of time, and how any of them is made of others afterwards.

    average(T) = ∫₀ᵀ p(τ)·θ(τ) dτ,   p(τ) = (γ + 1)·τ^γ/T^(γ+1)            Karras et al. 2024, section 3 and appendix C

Time is counted in pictures. γ ≥ 0 says how strongly the late weights count; what one names is the profile's standard
deviation in units of T, its relative length

    s = √(γ + 1)/((γ + 2)·√(γ + 3)),   so that   (γ + 2)²·(γ + 3)·s² = γ + 1.

Since θ is constant between two steps, the integral from step to step is exact, and is a running average:
average ← β·average + (1 - β)·θ, β = (1 - n/T)^(γ+1) for a step of n pictures that ends at T.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sfumato.training.averages_config import check_length

__all__ = ["Profile", "combination", "distance", "exponent", "inner_product", "kept"]


class Profile(NamedTuple):
    """Which weights count how much in an average: those up to `end`, by τ^γ."""

    gamma: float
    end: float  # pictures


def exponent(length: float) -> float:
    """γ of a relative length s: the largest root of γ³ + 7γ² + (16 - s⁻²)·γ + 12 - s⁻².

    Raises `InputError` for a length that cannot be.
    """
    square = check_length(length) ** -2
    roots = np.roots([1, 7, 16 - square, 12 - square])
    return float(roots.real.max())


def kept(gamma: float, count: int, seen: int) -> float:
    """β: the share of the old average that stays when `count` pictures bring the count to `seen`."""
    return (1 - count / seen) ** (gamma + 1)


def inner_product(p: Profile, q: Profile) -> float:
    """∫ p·q dτ = (γ_p + 1)(γ_q + 1)/(γ_p + γ_q + 1) · min(T_p, T_q)^(γ_p+γ_q+1)/(T_p^(γ_p+1)·T_q^(γ_q+1))."""
    early, late = min(p.end, q.end), max(p.end, q.end)
    scale = (p.gamma + 1) * (q.gamma + 1) / (p.gamma + q.gamma + 1) / late
    return scale * (early / p.end) ** p.gamma * (early / q.end) ** q.gamma


def combination(profiles: Sequence[Profile], wanted: Profile) -> np.ndarray:
    """Weights of averages with these profiles whose sum is nearest to the wanted profile, in the least-squares sense.

    minimise ∫ (Σ wᵢ·pᵢ - p)² dτ with Σ wᵢ = 1 (which the paper leaves to the fit; held exactly, weights that stand
    still stay what they are). The solution of [A 1; 1ᵀ 0]·[w; μ] = [b; 1], A_ij = ⟨pᵢ, pⱼ⟩, b_i = ⟨pᵢ, p⟩.
    """
    n = len(profiles)
    system, right = np.zeros((n + 1, n + 1)), np.ones(n + 1)
    for i, p in enumerate(profiles):
        system[i, :n] = [inner_product(p, q) * wanted.end for q in profiles]
        right[i] = inner_product(p, wanted) * wanted.end
    system[:n, n] = system[n, :n] = 1
    return np.linalg.lstsq(system, right, rcond=None)[0][:n]


def distance(profiles: Sequence[Profile], weights: np.ndarray, wanted: Profile) -> float:
    """How far Σ wᵢ·pᵢ is from the wanted profile: the norm of the difference, as a share of its own."""
    gram = np.array([[inner_product(p, q) for q in (*profiles, wanted)] for p in (*profiles, wanted)])
    signed = np.append(weights, -1.0)
    return float(np.sqrt(max(signed @ gram @ signed, 0.0) / gram[-1, -1]))
