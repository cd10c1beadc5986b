"""The forward process on K states, against loops over its definition and against Bayes' rule by brute force."""

import itertools
import math

import numpy as np
import pytest
import torch

from sfumato.diffusion.draws import uniform
from sfumato.discrete.betas import cosine, linear, mutual_information
from sfumato.discrete.chain import Chain, categorical
from sfumato.errors import InputError
from sfumato.seeds import Stream

BETAS = np.array([0.1, 0.3, 0.25, 0.6])
CHAINS = {
    "binomial": Chain.uniform(BETAS, 2),
    "uniform": Chain.uniform(BETAS, 4),
    "absorbing": Chain.absorbing(mutual_information(4), 4),
    "absorbing-middle": Chain.absorbing(BETAS, 5, absorbing=2),
    "gaussian": Chain.gaussian(BETAS, 4),
    "own": Chain(
        np.random.default_rng(0).dirichlet([1.0, 0.5, 2.0], (4, 3)), np.array([0.2, 0.3, 0.5]), "own"
    ),  # not symmetric: rows and columns cannot be confused
}
every = pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)


def paths(chain: Chain, first: int, last: int) -> np.ndarray:
    """P(state at step `last` = j | state at step `first` = i), summed over every path between."""
    single, result = chain.single.numpy(), np.zeros((chain.states, chain.states))
    for path in itertools.product(range(chain.states), repeat=last - first + 1):
        steps = zip(path[:-1], path[1:], range(first, last), strict=True)
        result[path[0], path[-1]] += math.prod(single[k, i, j] for i, j, k in steps)
    return result


class TestKernels:
    @every
    def test_rows_sum_to_one(self, chain):
        for matrices in (chain.single, chain.cumulative):
            assert (matrices >= 0).all()
            torch.testing.assert_close(matrices.sum(-1), torch.ones_like(matrices[..., 0]), rtol=0, atol=1e-14)

    def test_uniform_by_its_words(self):
        """With chance β drawn anew, evenly."""
        for t, beta in enumerate(BETAS):
            for i, j in itertools.product(range(4), repeat=2):
                expected = (1 - beta) * (i == j) + beta * 0.25
                assert CHAINS["uniform"].single[t, i, j].item() == pytest.approx(expected, abs=1e-15)

    def test_two_uniform_states_are_the_binomial_diffusion(self):
        """Sohl-Dickstein et al. 2015, table 1: q(x_t|x_{t-1}) is 1 with chance x_{t-1}·(1 - β) + ½·β; and their
        posterior, from Bernoulli chances alone."""
        chain, kept = CHAINS["binomial"], np.cumprod(1 - BETAS)
        for t, beta in enumerate(BETAS):
            for x in (0, 1):
                assert chain.single[t, x, 1].item() == pytest.approx(x * (1 - beta) + beta / 2, abs=1e-15)
                assert chain.cumulative[t + 1, x, 1].item() == pytest.approx(x * kept[t] + (1 - kept[t]) / 2, abs=1e-15)
        for x0, xt in itertools.product((0, 1), repeat=2):
            one = x0 * kept[1] + (1 - kept[1]) / 2
            by_bayes = {
                x: (one if x else 1 - one) * (p if xt else 1 - p)
                for x in (0, 1)
                for p in [x * (1 - BETAS[2]) + BETAS[2] / 2]
            }
            got = chain.posterior(torch.tensor([[x0]]), torch.tensor([[xt]]), 0.75, 0.5)
            assert got[0, 0, 1].item() == pytest.approx(by_bayes[1] / (by_bayes[0] + by_bayes[1]), abs=1e-14)

    def test_what_is_absorbed_stays(self):
        chain = CHAINS["absorbing-middle"]
        for t, beta in enumerate(BETAS):
            expected = (1 - beta) * np.eye(5)
            expected[:, 2] += beta
            np.testing.assert_allclose(chain.single[t], expected, atol=1e-15)
        assert (chain.cumulative[:, 2, 2] == 1).all()
        assert (chain.prior == torch.eye(5)[2]).all()
        ends = CHAINS["absorbing"].cumulative[-1]  # its last β is 1
        assert (ends == torch.eye(4)[3]).all()

    def test_gaussian_by_its_formula(self):
        """Austin et al. 2021, A.2.3, in loops."""
        chain, K = CHAINS["gaussian"], 4
        for t, beta in enumerate(BETAS):
            whole = sum(math.exp(-4 * n**2 / ((K - 1) ** 2 * beta)) for n in range(-(K - 1), K))
            for i in range(K):
                others = [
                    math.exp(-4 * (i - j) ** 2 / ((K - 1) ** 2 * beta)) / whole if j != i else 0 for j in range(K)
                ]
                others[i] = 1 - sum(others)
                np.testing.assert_allclose(chain.single[t, i], others, atol=1e-15)
        torch.testing.assert_close(chain.single.sum(1), torch.ones(4, 4).double())  # columns too: even stays even

    def test_gaussian_steps_have_half_of_beta_as_variance(self):
        """On levels from -1 to 1, away from the ends."""
        chain = Chain.gaussian(np.array([0.005]), 256)
        levels = torch.linspace(-1, 1, 256, dtype=torch.float64)
        assert (chain.single[0, 128] @ (levels - levels[128]) ** 2).item() == pytest.approx(0.0025, rel=1e-6)

    @pytest.mark.parametrize(
        "chain", [Chain.uniform(cosine(50), 5), Chain.gaussian(linear(50, 0.02, 1.0), 5)], ids=["uniform", "gaussian"]
    )
    def test_they_end_in_their_prior(self, chain):
        torch.testing.assert_close(chain.cumulative[-1], chain.prior.expand(5, 5), rtol=0, atol=2e-4)


class TestLaws:
    @every
    def test_products_are_sums_over_paths(self, chain):
        for first, last in [(0, 1), (0, 3), (1, 2), (1, 4), (2, 4), (0, 4)]:
            np.testing.assert_allclose(chain.between(first / 4, last / 4), paths(chain, first, last), atol=1e-14)
        np.testing.assert_allclose(chain.cumulative[4], paths(chain, 0, 4), atol=1e-14)

    @every
    @pytest.mark.parametrize(("s", "t"), [(0, 1), (0, 3), (1, 2), (1, 4), (2, 4), (3, 4)])
    def test_posterior_is_bayes_rule(self, chain, s, t):
        """q(x_s|x_t,x_0) from the joint law of the three."""
        K, head, tail = chain.states, paths(chain, 0, s) if s else np.eye(chain.states), paths(chain, s, t)
        for x0, xt in itertools.product(range(K), repeat=2):
            joint = np.array([head[x0, k] * tail[k, xt] for k in range(K)])
            here = (torch.tensor([[x0]]), torch.tensor([[xt]]), t / 4, s / 4)
            if joint.sum() == 0:
                with pytest.raises(InputError, match="cannot become"):
                    chain.posterior(*here)
                continue
            got = chain.posterior(*here)
            np.testing.assert_allclose(got[0, 0], joint / joint.sum(), atol=1e-13)
            if s == 0:
                assert got[0, 0, x0] == 1

    @every
    def test_a_time_for_each_picture(self, chain):
        x0 = torch.arange(30).reshape(5, 2, 3) % chain.states
        t, s = torch.tensor([1, 2, 4, 3, 4]) / 4, torch.tensor([0, 1, 1, 2, 0]) / 4
        xt = chain.draw(x0, t, uniform(range(5), (2, 3), Stream.STEP))
        whole = chain.posterior(x0, xt, t, s)
        assert whole.shape == (5, 2, 3, chain.states)
        for i in range(5):
            here = slice(i, i + 1)
            one = chain.posterior(x0[here], xt[here], t[i].item(), s[i].item())
            torch.testing.assert_close(whole[here], one, rtol=0, atol=1e-14)
            torch.testing.assert_close(chain.marginal(x0, t)[here], chain.marginal(x0[here], t[i].item()))

    @every
    def test_draws_follow_the_law(self, chain):
        x0 = torch.arange(chain.states)[:, None].expand(-1, 40_000).contiguous()
        xt = chain.draw(x0, 0.5, uniform(range(chain.states), (40_000,), Stream.STEP))
        law = paths(chain, 0, 2)
        for i in range(chain.states):
            share = np.bincount(xt[i], minlength=chain.states) / 40_000
            assert (np.abs(share - law[i]) <= 5 * np.sqrt(law[i] * (1 - law[i]) / 40_000)).all()


def test_categorical_draws_by_the_cumulative_sum():
    p = torch.tensor([0.0, 0.5, 0.0, 0.5, 0.0]).double()
    u = torch.tensor([0.0, 0.25, 0.4999, 0.5, 0.75, 1 - 2.0**-53]).double()
    assert categorical(p.expand(6, 5), u).tolist() == [1, 1, 1, 3, 3, 3]
    short = torch.full((10,), 0.1).double()  # its sum is a digit below 1
    assert categorical(short.expand(1, 10), u[-1:]).item() == 9
    with pytest.raises(InputError, match="as many random numbers"):
        categorical(p.expand(6, 5), u[:5])


class TestBadInput:
    @pytest.mark.parametrize("t", [0.3, -0.25, 1.25, math.nan, math.inf, torch.tensor([0.25, 0.3]), torch.zeros(2, 1)])
    def test_times_between_the_steps(self, t):
        with pytest.raises(InputError, match="knows the times 0, 1/4"):
            CHAINS["uniform"].marginal(torch.zeros(2, 1).long(), t)

    @pytest.mark.parametrize(("s", "t"), [(0.5, 0.5), (0.75, 0.5), (torch.tensor([0.0, 0.5]), 0.5)])
    def test_forward_and_reverse_cannot_be_confused(self, s, t):
        x = torch.zeros(2, 1).long()
        with pytest.raises(InputError, match="earlier time s must lie below t"):
            CHAINS["uniform"].posterior(x, x, t, s)

    @pytest.mark.parametrize(
        "x", [torch.tensor([[4]]), torch.tensor([[-1]]), torch.zeros(2, 1), torch.tensor([0]), torch.zeros(0, 2).long()]
    )
    def test_states(self, x):
        with pytest.raises(InputError, match="states"):
            CHAINS["uniform"].marginal(x, 0.5)

    def test_shapes(self):
        chain, x = CHAINS["uniform"], torch.zeros(2, 3).long()
        with pytest.raises(InputError, match="different shapes"):
            chain.posterior(x, x[:, :2], 0.5, 0.25)
        with pytest.raises(InputError, match="as many random numbers"):
            chain.draw(x, 0.5, torch.zeros(2, 2))
        with pytest.raises(InputError, match="2 pictures need as many times"):
            chain.marginal(x, torch.tensor([0.25, 0.5, 0.75]))

    @pytest.mark.parametrize(
        ("matrices", "prior", "message"),
        [
            (np.zeros((0, 2, 2)), np.full(2, 0.5), "T ≥ 1"),
            (np.ones((1, 1, 1)), np.ones(1), "K ≥ 2"),
            (np.full((1, 2, 3), 1 / 3), np.full(2, 0.5), "matrices are"),
            (np.full((1, 2, 2), 0.6), np.full(2, 0.5), "every row of the matrices must be probabilities"),
            (np.array([[[1.5, -0.5], [0, 1]]]), np.full(2, 0.5), "every row of the matrices must be probabilities"),
            (np.full((1, 2, 2), math.nan), np.full(2, 0.5), "every row of the matrices must be probabilities"),
            (np.full((1, 2, 2), 0.5), np.full(3, 1 / 3), "the prior is"),
            (np.full((1, 2, 2), 0.5), np.array([0.5, 0.4]), "the prior must be probabilities"),
        ],
    )
    def test_chains(self, matrices, prior, message):
        with pytest.raises(InputError, match=message):
            Chain(matrices, prior)

    @pytest.mark.parametrize("make", [Chain.uniform, Chain.absorbing, Chain.gaussian])
    def test_kernels(self, make):
        for states in (1, 0, 2.0, True):
            with pytest.raises(InputError, match="at least two states"):
                make(BETAS, states)
        for betas in ([], [0.0, 0.5], [1.5], [math.nan]):
            with pytest.raises(InputError, match="above 0 and at most 1"):
                make(betas, 3)
        with pytest.raises(InputError, match="2 GiB"):
            make(linear(1000), 1000)

    @pytest.mark.parametrize("state", [4, -1, 1.0, True])
    def test_absorbing_state(self, state):
        with pytest.raises(InputError, match="one of 0 … 3"):
            Chain.absorbing(BETAS, 4, absorbing=state)
