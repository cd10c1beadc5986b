"""What a picture of K states costs: the variational bound, term by term, and the loss that training takes.

    L_T     KL(q(x_T|x_0) ‖ prior)
    others  KL(q(x_s|x_t, x_0) ‖ p(x_s|x_t)), summed over the states;  at s = 0 it is -log p(x_0|x_t) by itself

Austin et al. 2021. The divergences are exact; only x_t is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from sfumato.diffusion.bits import Bound, chosen_terms, falling_times, in_bits
from sfumato.diffusion.draws import Seeds, check_seeds, uniform
from sfumato.discrete.chain import Chain, Time
from sfumato.discrete.reverse import Form, reverse
from sfumato.errors import InputError
from sfumato.seeds import Stream

__all__ = ["Predict", "hybrid_loss", "prior_bits", "term_bits", "variational_bound"]

Predict = Callable[[Tensor, float], Tensor]
"""(x_t (N, …) int64, t) -> logits of x_0 (N, …, K)"""


@torch.no_grad()
def variational_bound(
    chain: Chain,
    predict: Predict,
    x0: Tensor,
    seeds: Seeds,
    *,
    times: Sequence[float] | np.ndarray | None = None,
    only: Sequence[int] | np.ndarray | None = None,
    form: Form = "posterior",
) -> Bound:
    """The bound on -log2 p(x_0) of pictures, in bits per dimension; times the values of a picture it is in bits.

    Args:
        chain: the forward process.
        predict: (x_t, t) -> logits of x_0. It is asked once a term.
        x0: (N, …) int64.
        seeds: one a picture, or pairs. The noise of term k is a function of (seed, k).
        times: where sampling would ask, falling to 0, multiples of 1/T; default: all.
        only: numbers of the terms to evaluate (0 is the first step from noise); then `total` is an estimate, unbiased
            if every term was equally likely.
        form: of the reverse process.

    Raises:
        InputError: for other shapes, states, times or seeds; and where the chain has not forgotten x_0 at its end
            while the prior excludes it, as an absorbing chain whose last β is below 1: the bound is infinite.
        DivergedError: when the network's output is NaN.
    """
    pairs = check_seeds(seeds, len(chain.check(x0)))
    grid = falling_times(chain.steps, times)
    chain.index(torch.from_numpy(grid))  # all at once, before any work
    chosen = chosen_terms(len(grid) - 1, only)
    prior, terms = prior_bits(chain, x0, float(grid[0])), []
    for k in chosen.tolist():
        t, s = float(grid[k]), float(grid[k + 1])
        xt = chain.draw(x0, t, uniform(pairs, x0.shape[1:], Stream.LIKELIHOOD, k).to(x0.device))
        terms.append(term_bits(chain, predict(xt, t), x0, xt, t, s, form).cpu())
    return Bound(grid, chosen, prior.cpu(), torch.stack(terms, 1))


def prior_bits(chain: Chain, x0: Tensor, t: float = 1.0) -> Tensor:
    """L_T: KL(q(x_t|x_0) ‖ prior), bits per dimension (N,). Raises `InputError` where it is infinite."""
    nats = _divergence(chain.marginal(x0, t), chain.prior.to(x0.device))
    if not bool(torch.isfinite(nats).all()):
        raise InputError(
            f"at t = {t} the chain ({chain.name}) may still be where its prior never is, which costs infinitely many "
            "bits: let its last β be 1, as betas.mutual_information does"
        )
    return in_bits(nats)


def term_bits(
    chain: Chain, logits: Tensor, x0: Tensor, xt: Tensor, t: Time, s: Time, form: Form = "posterior"
) -> Tensor:
    """KL(q(x_s|x_t, x_0) ‖ p(x_s|x_t)), bits per dimension (N,). `t` and `s`: one, or one a picture."""
    return in_bits(_divergence(chain.posterior(x0, xt, t, s), reverse(chain, logits, xt, t, s, form)))


def hybrid_loss(
    chain: Chain, logits: Tensor, x0: Tensor, xt: Tensor, t: Time, weight: float = 0.01, form: Form = "posterior"
) -> Tensor:
    """L_λ at t: the term of the bound for the step from t to t - 1/T, and λ times -log p̃(x_0|x_t) (Austin et al. 2021),
    bits per dimension (N,).

    Its mean over t ∈ {1/T … 1} is L_λ/T, but for L_T, of which there is nothing to learn. `weight` is λ: 0.001 and
    0.01 are theirs; 0 leaves the bound.
    """
    if not 0 <= weight < math.inf:
        raise InputError(f"the weight λ of the cross entropy is a number from 0 on, not {weight}")
    s = (chain.index(t) - 1).double() / chain.steps
    if bool((s < 0).any()):
        raise InputError("at t = 0 there is nothing to learn: times are 1/T … 1")
    bound = term_bits(chain, logits, x0, xt, t, s, form)
    if not weight:
        return bound
    entropy = -torch.log_softmax(logits.double(), -1).gather(-1, x0[..., None])[..., 0]
    return bound + weight * in_bits(entropy)


def _divergence(q: Tensor, p: Tensor) -> Tensor:
    """Σ q·log(q/p) over the states, in nats; what q excludes costs nothing, and has no slope."""
    there = q > 0
    one = torch.ones((), dtype=q.dtype, device=q.device)
    return (q * (torch.where(there, q, one).log() - torch.where(there, p, one).log())).sum(-1)
