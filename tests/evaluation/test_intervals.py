import logging
from typing import get_args

import numpy as np
import pytest
from scipy.stats import norm

from sfumato.errors import InputError
from sfumato.evaluation.frechet import frechet_distance
from sfumato.evaluation.intervals import Method, interval, intervals, once_each, share_interval
from sfumato.seeds import Stream, generator, permutation

METHODS: tuple[Method, ...] = get_args(Method)
DATA = np.random.default_rng(0).gamma(2.0, size=(41, 1))


@pytest.mark.parametrize("method", METHODS)
def test_a_mean_has_the_textbooks_interval(method):
    """mean ± 1.645·s/√n at 90 %: all methods agree for what is linear and has no bias."""
    found = interval(np.mean, DATA[:40], method=method, level=0.9, draws=2000)
    error = DATA[:40].std(ddof=1) / 40**0.5
    assert found.value == pytest.approx(DATA[:40].mean())
    assert found.estimate == pytest.approx(found.value, abs=0.1 * error)
    assert found.high - found.low == pytest.approx(2 * norm.ppf(0.95) * error, rel=0.06)
    assert (found.low + found.high) / 2 == pytest.approx(found.value, abs=0.15 * error)


def test_halves_take_off_a_bias_of_one_in_n():
    """Variances with n in the denominator are on average (n - 1)/n of the true one, those of halves (m - 1)/m.

    So twice the one less the mean of the others is the unbiased variance, exactly.
    """
    x = DATA[:10]
    draws = 3200
    found = interval(np.var, x, method="limit", draws=draws)
    assert found.value == pytest.approx(x.var())
    assert found.estimate == pytest.approx(x.var(ddof=1), abs=4 * x.var() / draws**0.5)
    assert abs(x.var() - x.var(ddof=1)) > 1.5 * 4 * x.var() / draws**0.5  # and the test can tell
    assert found.low < found.estimate < found.high
    about = interval(np.var, x, method="half", draws=draws)
    assert about.estimate == about.value
    assert about.high - about.low == pytest.approx(found.high - found.low)
    assert about.low - about.value == pytest.approx(found.low - found.estimate)


def test_halves_are_not_mirrored():
    """Where halves stray far above, so does the interval."""
    found = interval(lambda x: float(np.exp(2 * x.mean())), DATA[:20], method="half", level=0.9)
    assert found.high - found.value > 1.3 * (found.value - found.low)


FEW, MANY = 20, 60  # repetitions


def gaussians(seed, n=60):
    """Two sets in 2-D whose laws have the Fréchet distance 0.25 + 0.25 + 0.09."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 2)), np.array([0.5, 0]) + rng.normal(size=(n, 2)) * [1.5, 0.7]


DISTANCE = 0.59


def test_nine_in_ten_intervals_hold_the_fréchet_distance_of_the_laws():
    held, estimates = [], []
    for seed in range(MANY):
        found = interval(frechet_distance, *gaussians(seed), method="limit", level=0.9, draws=40, seed=seed)
        held.append(found.low <= DISTANCE <= found.high)
        estimates.append(found.estimate)
    assert 0.8 <= np.mean(held) <= 0.96
    assert abs(np.mean(estimates) - DISTANCE) < 3 * np.std(estimates) / MANY**0.5


def test_the_bootstrap_of_a_fréchet_distance_is_biased_upwards():
    """As its docstring warns: where the laws are equal it never holds the truth, while halves do."""
    rng = np.random.default_rng(1)
    held: dict[Method, int] = {"percentile": 0, "limit": 0}
    for seed in range(FEW):
        sets = rng.normal(size=(2, 40, 3))
        for method in held:
            found = interval(frechet_distance, *sets, method=method, level=0.9, draws=20, seed=seed)
            held[method] += found.low <= 0 <= found.high
    assert held["percentile"] == 0
    assert held["limit"] >= 0.85 * FEW


def test_halves_hold_what_is_usual_at_this_n():
    """The distance in 1-D, (Δμ)² + (Δσ)², of sets of 100: their own average, above that of the laws."""

    def distance(a, b):
        return (a.mean(-1) - b.mean(-1)) ** 2 + (a.std(-1, ddof=1) - b.std(-1, ddof=1)) ** 2

    sets = np.random.default_rng(2).normal(size=(20_000, 2, 100)) * [[1], [1.5]] + [[0], [0.5]]
    usual = distance(sets[:, 0], sets[:, 1]).mean()
    assert usual > 0.54  # the laws' is 0.5
    found = [interval(distance, *sets[seed], level=0.9, draws=60, seed=seed) for seed in range(60)]
    assert 0.8 <= np.mean([f.low <= usual <= f.high for f in found]) <= 0.97


@pytest.mark.parametrize(("method", "sizes"), [("percentile", (41, 30)), ("half", (20, 15)), ("limit", (20, 15))])
def test_each_set_is_drawn_from_on_its_own(method, sizes):
    seen = []

    def remember(a, b):
        seen.append((a.ravel().tolist(), b.ravel().tolist()))
        return float(a.mean())

    one, other = np.arange(41.0)[:, None], np.arange(100.0, 130)[:, None]
    found = interval(remember, one, other, method=method, level=0.5, draws=50)
    assert found.n == (41, 30)
    assert seen[0] == (one.ravel().tolist(), other.ravel().tolist())
    for a, b in seen[1:]:
        assert (len(a), len(b)) == sizes
        assert (max(a), min(b)) < (100, 130)
        whole = len(set(a)) == len(a) and len(set(b)) == len(b)
        assert whole == (method != "percentile")
    assert len({tuple(a) for a, _ in seen[1:]}) == 50
    twice = interval(lambda a, b: float(a.mean() - b.mean()), one, one, method=method, draws=50)
    alone = interval(np.mean, one, method=method, draws=50)
    assert twice.high - twice.low > 1.1 * (alone.high - alone.low)


def test_several_statistics_are_asked_of_the_same_draws():
    told = []
    both = intervals(
        lambda x, y: {"mean": float(x.mean()), "gap": float(x.mean() - y.mean())},
        DATA,
        DATA[:20],
        draws=40,
        seed=3,
        progress=lambda done, of: told.append((done, of)),
    )
    assert both["mean"] == interval(lambda x, y: float(x.mean()), DATA, DATA[:20], draws=40, seed=3)
    assert both["gap"] == interval(lambda x, y: float(x.mean() - y.mean()), DATA, DATA[:20], draws=40, seed=3)
    assert told == [(i, 40) for i in range(1, 41)]
    with pytest.raises(InputError, match="gap of 41 pictures is nan"):
        intervals(lambda x: {"mean": 1.0, "gap": float("nan")}, DATA, draws=40)


def test_draws_have_a_stream_of_their_own():
    """So that no draw is how a data set is parted into halves, whatever the seed."""
    seen = []
    interval(lambda x: seen.append(x) or 0.0, np.arange(9), draws=40, seed=0)
    assert np.array_equal(seen[1], permutation(9, 0, Stream.RESAMPLE, 0)[:4])
    seen.clear()
    interval(lambda x, y: seen.append(y) or 0.0, np.arange(9), np.arange(7), method="percentile", draws=40, seed=5)
    assert np.array_equal(seen[2], generator(5, 3, Stream.RESAMPLE).integers(7, size=7))


def test_numbers_of_pictures_draw_together_what_belongs_together():
    """The difference of two sets of the same seeds: what both share cancels, to the last bit if they are equal."""
    found = interval(lambda i: float(DATA[i].mean() - DATA[i].mean()), np.arange(41), draws=40)
    assert (found.low, found.high) == (0, 0)


def test_is_a_function_of_the_seed():
    one, again, other = (interval(np.mean, DATA, draws=50, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one.low != other.low


def test_a_warning_is_heard_once_and_again_next_time(caplog):
    few = np.random.default_rng(3).normal(size=(8, 12))
    with caplog.at_level(logging.WARNING, "sfumato"):
        for times in (1, 2):
            interval(frechet_distance, few, few + 1, draws=40)
            assert len(caplog.records) == times
        frechet_distance(few, few)
        frechet_distance(few, few)
    assert len(caplog.records) == 4
    with caplog.at_level(logging.WARNING, "sfumato"), once_each():
        interval(frechet_distance, few, few + 1, draws=40)
        interval(frechet_distance, few, few + 2, draws=40)
    assert len(caplog.records) == 5


@pytest.mark.parametrize(
    ("sets", "options", "message"),
    [
        ([], {}, "one or more sets of 4 pictures at least, not none"),
        ([DATA[:3]], {}, r"4 pictures at least, not \(3, 1\)"),
        ([DATA, DATA[:1]], {"method": "percentile"}, "2 pictures at least"),
        ([np.float64(3)], {}, "pictures at least"),
        ([DATA], {"method": "halves"}, "no method 'halves'. Did you mean 'half'"),
        ([DATA], {"seed": 0.5}, "a seed is a whole number"),
        ([DATA], {"level": 1.0}, "level must be between 0 and 1"),
        ([DATA], {"draws": 39}, r"at least 2/\(1 - level\), not 0.95 and 39"),
    ],
)
def test_bad_questions(sets, options, message):
    with pytest.raises(InputError, match=message):
        interval(lambda *s: float(s[0].mean()), *sets, **options)


def test_a_statistic_that_is_no_number():
    with pytest.raises(InputError, match="the statistic of 41 pictures is nan"):
        interval(lambda x: float("nan"), DATA)
    with pytest.raises(InputError, match="the statistic of 20 pictures is inf"):
        interval(lambda x: float("inf") if len(x) < 41 else 1.0, DATA)


@pytest.mark.parametrize(("hits", "n"), [(0, 200), (7, 60), (60, 60), (1, 1)])
def test_a_share_lies_as_far_from_the_ends_as_luck_may_bring_it(hits, n):
    """The ends are the p at which the share is z standard errors of that p away."""
    found = share_interval(np.arange(n) < hits, 0.9)
    z = norm.ppf(0.95)
    assert found.value == hits / n
    assert 0 <= found.low <= found.value <= found.high <= 1
    for p in (found.low, found.high):
        assert (found.value - p) ** 2 == pytest.approx(z**2 * p * (1 - p) / n, abs=1e-12)
    assert found.low < found.high
    assert (found.method, found.draws, found.n) == ("wilson", 0, (n,))


@pytest.mark.parametrize("hits", [np.zeros(0, bool), np.zeros(4), np.zeros((2, 2), bool)])
def test_what_is_no_share(hits):
    with pytest.raises(InputError, match="a share is of"):
        share_interval(hits)
