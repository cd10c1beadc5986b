"""The reverse process and what it costs, against sums over all states and all paths."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sfumato.diffusion.draws import uniform
from sfumato.discrete.betas import mutual_information
from sfumato.discrete.bound import hybrid_loss, prior_bits, term_bits, variational_bound
from sfumato.discrete.chain import Chain
from sfumato.discrete.reverse import reverse
from sfumato.discrete.sample import sample
from sfumato.errors import DivergedError, InputError
from sfumato.seeds import Stream

BETAS = np.array([0.2, 0.35, 0.5])
CHAINS = {
    "binomial": Chain.uniform(BETAS, 2),
    "uniform": Chain.uniform(BETAS, 3),
    "absorbing": Chain.absorbing(mutual_information(3), 3),
    "gaussian": Chain.gaussian(BETAS, 3),
    "own": Chain(np.random.default_rng(0).dirichlet([1.0, 0.5, 2.0], (3, 3)), np.array([0.2, 0.3, 0.5]), "own"),
}
every = pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
forms = pytest.mark.parametrize("form", ["posterior", "joint"])


def pictures(chain: Chain, values: int = 2) -> Tensor:
    """All pictures of so many values: (K^D, D)."""
    return torch.tensor(list(itertools.product(range(chain.states), repeat=values)))


def law(chain: Chain, values: int = 2) -> Tensor:
    """Data in which the values depend on each other; none that an absorbing chain puts into its last state."""
    p = torch.from_numpy(np.random.default_rng(1).dirichlet(np.full(chain.states**values, 0.6)))
    if chain.name.startswith("absorbing"):
        p = torch.where((pictures(chain, values) == chain.states - 1).any(1), 0.0, p)
    return p / p.sum()


def ways(chain: Chain, s: int, t: int, values: int = 2) -> Tensor:
    """q(x_t = b|x_s = a) for all pictures a, b, value by value."""
    every, matrix = pictures(chain, values), torch.from_numpy(np.eye(chain.states))
    for k in range(s, t):
        matrix = matrix @ chain.single[k]
    return matrix[every[:, None], every[None]].prod(-1)


def best(chain: Chain, values: int = 2):
    """logits of the true p(x_0 = i|x_t) of every value, by Bayes' rule over all pictures."""
    every, data = pictures(chain, values), law(chain, values)

    def predict(xt: Tensor, t: float) -> Tensor:
        joint = data[:, None] * ways(chain, 0, round(t * chain.steps), values)  # (x_0, x_t)
        number = (xt * chain.states ** torch.arange(values - 1, -1, -1)).sum(-1)
        of_x0 = joint[:, number].T  # (N, x_0)
        one_hot = torch.eye(chain.states).double()[every]  # (x_0, D, K)
        return torch.einsum("na,adk->ndk", of_x0, one_hot).log()

    return predict


def some(chain: Chain):
    """A network that knows nothing, but says it firmly: logits that depend on all of x_t and on t."""
    weight = torch.from_numpy(np.random.default_rng(2).normal(size=(2, 2, chain.states)))

    def predict(xt: Tensor, t: float) -> Tensor:
        return torch.einsum("...d,dek->...ek", xt.double() + 0.3 + t, weight)

    return predict


class TestReverse:
    @every
    @forms
    def test_it_is_the_sum_over_x0(self, chain, form):
        """Austin et al. 2021, and the exact mixture, in loops."""
        every, predict = pictures(chain), some(chain)
        for s, t in [(0, 1), (1, 2), (2, 3), (0, 3), (1, 3)]:
            seen = every[(ways(chain, 0, t) > 0).any(0)]
            of_x0 = torch.softmax(predict(seen, t / 3), -1)
            got = reverse(chain, predict(seen, t / 3), seen, t / 3, s / 3, form)
            head, tail = (torch.from_numpy(np.eye(chain.states)) for _ in range(2))
            for k in range(t):
                head, tail = (head @ chain.single[k], tail) if k < s else (head, tail @ chain.single[k])
            for n, d in itertools.product(range(len(seen)), range(2)):
                j, total = seen[n, d], torch.zeros(chain.states).double()
                for i in range(chain.states):
                    joint = head[i] * tail[:, j]
                    if form == "joint":
                        total += of_x0[n, d, i] * (joint if s else torch.eye(chain.states).double()[i])
                    elif joint.sum() > 0:
                        total += of_x0[n, d, i] * joint / joint.sum()
                torch.testing.assert_close(got[n, d], total / total.sum(), rtol=0, atol=1e-13)

    @every
    def test_the_best_guess_reverses_the_process(self, chain):
        """q(x_s|x_t) of the data, exactly, where a picture is one value."""
        every, data, predict = pictures(chain, 1), law(chain, 1), best(chain, 1)
        for s, t in [(0, 1), (1, 2), (2, 3), (0, 3), (1, 3)]:
            joint = (data @ ways(chain, 0, s, 1))[:, None] * ways(chain, s, t, 1)  # (x_s, x_t)
            seen = joint.sum(0) > 0
            got = reverse(chain, predict(every[seen], t / 3), every[seen], t / 3, s / 3)[:, 0]
            torch.testing.assert_close(got, (joint / joint.sum(0))[:, seen].T, rtol=0, atol=1e-13)

    def test_the_forms_agree_where_nothing_but_loss_happens(self):
        chain = CHAINS["absorbing"]
        every, logits = pictures(chain), some(chain)(pictures(chain), 1.0)
        logits[..., 2] = -math.inf  # the mask is no data
        a, b = (reverse(chain, logits, every, 2 / 3, 1 / 3, form) for form in ("posterior", "joint"))
        torch.testing.assert_close(a, b)

    @forms
    def test_a_time_for_each_picture(self, form):
        chain = CHAINS["own"]
        xt, t, s = pictures(chain)[:4], torch.tensor([1, 2, 3, 3]) / 3, torch.tensor([0, 1, 0, 2]) / 3
        logits = some(chain)(xt, 0.5)
        whole = reverse(chain, logits, xt, t, s, form)
        for i in range(4):
            here = slice(i, i + 1)
            one = reverse(chain, logits[here], xt[here], t[i].item(), s[i].item(), form)
            torch.testing.assert_close(whole[here], one)

    def test_bad_input(self):
        chain, xt = CHAINS["uniform"], pictures(CHAINS["uniform"])
        logits = torch.zeros(9, 2, 3)
        with pytest.raises(InputError, match="Did you mean 'joint'"):
            reverse(chain, logits, xt, 1.0, 0.0, "join")  # type: ignore[arg-type]
        with pytest.raises(InputError, match="a logit a state"):
            reverse(chain, logits[..., :2], xt, 1.0, 0.0)
        with pytest.raises(InputError, match="s must lie below t"):
            reverse(chain, logits, xt, 1 / 3, 1.0)
        with pytest.raises(DivergedError, match="NaN"):
            reverse(chain, logits * math.nan, xt, 1.0, 0.0)
        sure = torch.full((1, 1, 3), -math.inf)
        sure[..., 0] = 0
        with pytest.raises(DivergedError, match="nothing that x_t can have come from"):  # state 1 was never 0
            reverse(CHAINS["absorbing"], sure, torch.tensor([[1]]), 1 / 3, 0.0)


def back(chain: Chain, predict, t: float, s: float, form) -> Tensor:
    """The model's p(x_s = b|x_t = a) for all pictures a, b; 0 for an x_t that nothing becomes."""
    every = pictures(chain)
    seen = (ways(chain, 0, round(t * chain.steps)) > 0).any(0)
    p = torch.zeros(len(every), 2, chain.states).double()
    p[seen] = reverse(chain, predict(every[seen], t), every[seen], t, s, form)
    return torch.stack([p[:, 0, a] * p[:, 1, b] for a, b in every.tolist()], 1)


def by_paths(chain: Chain, predict, form, x0: int) -> tuple[float, float]:
    """(bound, -log2 p(x_0)) in bits per dimension: sums over all paths x_1, x_2, x_3, of the chain and of the model."""
    forward = [ways(chain, t, t + 1).numpy() for t in range(3)]
    steps = [back(chain, predict, t / 3, (t - 1) / 3, form).numpy() for t in (1, 2, 3)]
    prior = chain.prior[pictures(chain)].prod(-1).numpy()
    bound, likelihood = 0.0, 0.0
    for a, b, c in itertools.product(range(len(prior)), repeat=3):
        q = forward[0][x0, a] * forward[1][a, b] * forward[2][b, c]
        p = prior[c] * steps[2][c, b] * steps[1][b, a] * steps[0][a, x0]
        likelihood += p
        if q > 0:
            bound += q * math.log2(q / p)
    return bound / 2, -math.log2(likelihood) / 2


class TestBound:
    @pytest.mark.parametrize("name", ["binomial", "uniform", "absorbing", "gaussian", "own"])
    @forms
    def test_it_is_the_sum_over_all_paths(self, name, form):
        chain = CHAINS[name]
        every, predict = pictures(chain), some(chain)
        for x0 in (0, 1, 3):
            if chain.name.startswith("absorbing") and (every[x0] == 2).any():
                continue
            start = every[x0].expand_as(every)
            total = prior_bits(chain, every[x0 : x0 + 1]).item()
            for t in (1, 2, 3):
                chance = ways(chain, 0, t)[x0]
                there = chance > 0
                bits = term_bits(
                    chain, predict(every[there], t / 3), start[there], every[there], t / 3, (t - 1) / 3, form
                )
                total += (chance[there] * bits).sum().item()
            bound, nll = by_paths(chain, predict, form, x0)
            assert total == pytest.approx(bound, rel=1e-10)
            assert total > nll

    @every
    def test_no_slack_with_the_best_guess_of_one_value(self, chain):
        """E[bound] = H(x_0) + KL(q(x_T) ‖ prior) - and for the model, whose reverse is exact, not a bit more."""
        every, data, predict = pictures(chain, 1), law(chain, 1), best(chain, 1)
        total = 0.0
        for x0 in data.nonzero()[:, 0]:
            start = every[x0 : x0 + 1]
            total += data[x0].item() * prior_bits(chain, start).item()
            for t in (1, 2, 3):
                chance = ways(chain, 0, t, 1)[x0]
                for xt in chance.nonzero()[:, 0]:
                    here = every[xt : xt + 1]
                    bits = term_bits(chain, predict(here, t / 3), start, here, t / 3, (t - 1) / 3)
                    total += (data[x0] * chance[xt] * bits).item()
        ends = data @ ways(chain, 0, 3, 1)
        left = torch.special.xlogy(ends, ends / torch.where(chain.prior > 0, chain.prior, 1.0)).sum()
        entropy = -torch.special.xlogy(data, data).sum()
        assert total == pytest.approx(((entropy + left) / math.log(2)).item(), abs=1e-12)

    def test_drawn_it_is_right_on_average(self):
        chain, predict = CHAINS["own"], some(CHAINS["own"])
        x0 = pictures(chain)[5].expand(20, 1000, 2).contiguous()
        got = variational_bound(chain, predict, x0, range(20)).total
        expected, _ = by_paths(chain, predict, "posterior", 5)
        assert abs(got.mean().item() - expected) < 4 * got.std().item() / 20**0.5
        assert got.std().item() < 0.05

    def test_terms_are_those_of_its_draws(self):
        chain, predict, x0 = CHAINS["own"], some(CHAINS["own"]), pictures(CHAINS["own"])
        got = variational_bound(chain, predict, x0, range(9))
        assert got.complete
        np.testing.assert_allclose(got.times, [1, 2 / 3, 1 / 3, 0])
        for k, (t, s) in enumerate([(1.0, 2 / 3), (2 / 3, 1 / 3), (1 / 3, 0.0)]):
            xt = chain.draw(x0, t, uniform(range(9), (2,), Stream.LIKELIHOOD, k))
            torch.testing.assert_close(got.terms[:, k], term_bits(chain, predict(xt, t), x0, xt, t, s))
        torch.testing.assert_close(got.total, prior_bits(chain, x0) + got.terms.sum(1))
        one = variational_bound(chain, predict, x0[3:4], [3], only=[1])
        torch.testing.assert_close(one.terms[:, 0], got.terms[3:4, 1])
        torch.testing.assert_close(one.total, one.prior + 3 * one.terms[:, 0])
        few = variational_bound(chain, predict, x0, range(9), times=[2 / 3, 0.0])
        xt = chain.draw(x0, 2 / 3, uniform(range(9), (2,), Stream.LIKELIHOOD, 0))
        torch.testing.assert_close(few.terms[:, 0], term_bits(chain, predict(xt, 2 / 3), x0, xt, 2 / 3, 0.0))
        torch.testing.assert_close(few.prior, prior_bits(chain, x0, 2 / 3))

    def test_the_last_term_is_the_chance_of_the_picture(self):
        chain, x0 = CHAINS["uniform"], pictures(CHAINS["uniform"])
        logits = some(chain)(x0, 1 / 3)
        xt = x0.flip(0)
        chance = torch.softmax(logits, -1).gather(-1, x0[..., None])[..., 0]
        for form in ("posterior", "joint"):
            got = term_bits(chain, logits, x0, xt, 1 / 3, 0.0, form)
            torch.testing.assert_close(got, -chance.log2().mean(1))

    def test_a_chain_that_does_not_forget(self):
        chain = Chain.absorbing(BETAS, 3)
        with pytest.raises(InputError, match="infinitely many"):
            variational_bound(chain, some(chain), torch.zeros(1, 2).long(), [0])
        assert (prior_bits(CHAINS["absorbing"], torch.zeros(1, 2).long()) == 0).all()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"times": [0.0, 1.0]}, "times fall strictly"),
            ({"times": [1.0, 0.5, 0.0]}, "knows the times"),
            ({"times": [1.0]}, "at least two"),
            ({"only": [3]}, "numbered 0"),
            ({"seeds": [1]}, "9 pictures need a seed each"),
            ({"x0": torch.full((9, 2), 3)}, "states are 0 … 2"),
            ({"x0": torch.zeros(9, 2)}, "int64"),
            ({"form": "x"}, "no form 'x'"),
        ],
    )
    def test_bad_input(self, arguments, message):
        chain = CHAINS["uniform"]
        given = {"x0": pictures(chain), "seeds": range(9), **arguments}
        with pytest.raises(InputError, match=message):
            variational_bound(chain, some(chain), **given)


class TestHybridLoss:
    def test_is_a_term_and_a_share_of_the_cross_entropy(self):
        chain, x0 = CHAINS["own"], pictures(CHAINS["own"])
        t = torch.tensor([1, 2, 3] * 3) / 3
        xt = chain.draw(x0, t, uniform(range(9), (2,), Stream.STEP))
        logits = some(chain)(xt, 0.5)
        chance = torch.softmax(logits, -1).gather(-1, x0[..., None])[..., 0]
        for weight in (0.0, 0.01, 2.0):
            got = hybrid_loss(chain, logits, x0, xt, t, weight)
            for i in range(9):
                here, now = slice(i, i + 1), t[i].item()
                term = term_bits(chain, logits[here], x0[here], xt[here], now, now - 1 / 3)
                torch.testing.assert_close(got[here], term - weight * chance[here].log2().mean(1))

    @every
    @forms
    def test_it_can_be_learned_from(self, chain, form):
        """Its slope is finite, also where states are excluded, and is that of finite differences."""
        x0 = torch.tensor([[0, 1], [1, 0], [0, 0]])
        t = torch.tensor([1 / 3, 2 / 3, 1.0])
        xt = chain.draw(x0, t, uniform(range(3), (2,), Stream.STEP))
        logits = torch.from_numpy(np.random.default_rng(5).normal(size=(3, 2, chain.states)))

        def loss(z: Tensor) -> Tensor:
            return hybrid_loss(chain, z, x0, xt, t, form=form).sum()

        logits.requires_grad_()
        (slope,) = torch.autograd.grad(loss(logits), logits)
        for place in itertools.product(range(3), range(2), range(chain.states)):
            step = torch.zeros_like(slope)
            step[place] = 1e-5
            difference = (loss(logits.detach() + step) - loss(logits.detach() - step)) / 2e-5
            assert slope[place].item() == pytest.approx(difference.item(), abs=1e-7)

    def test_bad_input(self):
        chain, x0 = CHAINS["uniform"], pictures(CHAINS["uniform"])
        logits = torch.zeros(9, 2, 3)
        for weight in (-0.1, math.nan, math.inf):
            with pytest.raises(InputError, match="weight λ"):
                hybrid_loss(chain, logits, x0, x0, 1.0, weight)
        with pytest.raises(InputError, match="nothing to learn"):
            hybrid_loss(chain, logits, x0, x0, 0.0)
        with pytest.raises(InputError, match="knows the times"):
            hybrid_loss(chain, logits, x0, x0, 0.5)


class TestSample:
    @every
    @pytest.mark.parametrize("times", [None, [1.0, 1 / 3, 0.0]])
    def test_the_law_is_the_models(self, chain, times):
        """Pictures of two values, against the product of the model's matrices over all pictures."""
        predict, grid = some(chain), times or [1.0, 2 / 3, 1 / 3, 0.0]
        expected = chain.prior[pictures(chain)].prod(-1)
        for t, s in itertools.pairwise(grid):
            expected = expected @ back(chain, predict, t, s, "posterior")
        got = sample(chain, predict, range(4), (5000, 2), times=times)
        share = np.bincount((got * torch.tensor([chain.states, 1])).sum(-1).flatten(), minlength=len(expected)) / 20_000
        spread = np.sqrt((expected * (1 - expected)).numpy() / 20_000)
        assert (np.abs(share - expected.numpy()) <= 5 * spread + 1e-12).all()

    def test_the_best_guess_samples_the_data(self):
        """One value, a chain that forgets all: the law of the samples is the data's."""
        chain = Chain.uniform(mutual_information(3), 3)
        truth = best(chain, 1)
        got = sample(chain, lambda x, t: truth(x.reshape(-1, 1), t).reshape(*x.shape, 3), range(4), (5000,))
        share, data = np.bincount(got.flatten(), minlength=3) / 20_000, law(chain, 1).numpy()
        assert (np.abs(share - data) <= 5 * np.sqrt(data * (1 - data) / 20_000)).all()

    def test_a_picture_is_the_same_alone(self):
        chain, predict = CHAINS["own"], some(CHAINS["own"])
        batch = sample(chain, predict, [4, (5, 2), 6], (2,))
        assert torch.equal(sample(chain, predict, [(5, 2)], (2,))[0], batch[1])
        assert batch.dtype == torch.int64
        many = sample(chain, predict, range(200), (2,))
        assert len(many.unique(dim=0)) > 6

    @pytest.mark.parametrize(
        ("seeds", "shape", "times", "message"),
        [
            ([], (2,), None, "nothing to sample"),
            ([1], (), None, "nothing to sample"),
            ([1], (0,), None, "nothing to sample"),
            ([-1], (2,), None, "a seed is"),
            ([1], (2,), [0.0, 1.0], "times fall"),
            ([1], (2,), [0.9, 0.0], "knows the times"),
        ],
    )
    def test_bad_input(self, seeds, shape, times, message):
        with pytest.raises(InputError, match=message):
            sample(CHAINS["own"], some(CHAINS["own"]), seeds, shape, times=times)
