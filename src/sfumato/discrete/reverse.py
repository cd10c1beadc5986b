"""The reverse process p on K states: a network guesses x_0, and Bayes' rule does the rest.

    p(x_s|x_t) = Σ_i q(x_s|x_t, x_0 = i)·p̃(x_0 = i|x_t)                    "posterior"
    p(x_s|x_t) ∝ Σ_i q(x_s, x_t|x_0 = i)·p̃(x_0 = i|x_t)                    "joint": Austin et al. 2021

The first is the true reverse process when p̃ is the true law of x_0 given x_t. The second weighs every i once more with
q(x_t|x_0 = i), which x_t has told p̃ already; it is for networks trained so. In absorbing chains that is no difference.
Both are, up to normalisation, (w·Q̄_s) ⊙ q(x_t|x_s), with w = p̃ ⊘ q(x_t|x_0) and w = p̃.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from sfumato.discrete.chain import Chain, Time
from sfumato.errors import DivergedError, InputError, nearest

__all__ = ["FORMS", "Form", "reverse"]

Form = Literal["posterior", "joint"]
FORMS: tuple[Form, ...] = get_args(Form)


def reverse(chain: Chain, logits: Tensor, xt: Tensor, t: Time, s: Time, form: Form = "posterior") -> Tensor:
    """p(x_s|x_t), s < t, a distribution for every value: (N, …, K) float64.

    Args:
        chain: the forward process.
        logits: (N, …, K) of p̃(x_0|x_t), up to a constant; -inf for what cannot be.
        xt: (N, …) int64.
        t, s: one, or one a picture.
        form: see above. At s = 0 both are p̃, of what x_t can have come from in the first ("posterior"), and as Austin
            et al. do it, as it is, in the second.

    Raises:
        InputError: for other shapes or times, or an unknown form.
        DivergedError: when p̃ is NaN, or lies all on values that x_t cannot have come from.
    """
    if form not in FORMS:
        raise InputError(f"no form {form!r}. {nearest(form, FORMS)}")
    if tuple(logits.shape) != (*chain.check(xt).shape, chain.states):
        raise InputError(f"the network put out {tuple(logits.shape)}, not {(*xt.shape, chain.states)}: a logit a state")
    guess = torch.softmax(logits.double(), -1)
    likelihood, start = chain.likelihood(xt, t, s), chain.cumulative[chain.index(s)].to(xt.device)
    if form == "posterior":
        of_x0 = chain.likelihood(xt, t, 0.0)
        possible = of_x0 > torch.finfo(torch.float64).tiny  # (dividing by less would overflow)
        guess = torch.where(possible, guess / torch.where(possible, of_x0, 1.0), 0.0)
    else:
        last = (chain.index(s) == 0).to(xt.device).reshape(-1, *[1] * xt.ndim)
        likelihood = torch.where(last, 1.0, likelihood)
    joint = (guess.flatten(1, -2) @ start).reshape(guess.shape) * likelihood
    total = joint.sum(-1, keepdim=True)
    if not bool((total > 0).all()):
        raise DivergedError(f"at t = {t} the network's guess of x_0 is NaN, or nothing that x_t can have come from")
    return joint / total
