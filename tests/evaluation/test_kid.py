import numpy as np
import pytest
import torch

from sfumato.errors import InputError
from sfumato.evaluation.kid import kid, kid_of_subsets

MEANS = np.array([[0.5, -0.2, 1.0], [0.1, 0.4, 0.3]])
ROOTS = np.random.default_rng(7).normal(size=(2, 3, 3)) * 0.8


def expected_kernel(mean1, cov1, mean2, cov2):
    """E (x·y/D + 1)³ for independent Gaussians: (x·y)ʲ is the inner product of x⊗…⊗x and y⊗…⊗y."""

    def moments(mean, cov):
        third = np.einsum("i,j,k->ijk", mean, mean, mean)
        for spec in ("ij,k->ijk", "ik,j->ijk", "jk,i->ijk"):
            third += np.einsum(spec, cov, mean)
        return mean, cov + np.outer(mean, mean), third

    d = len(mean1)
    first, second, third = ((a * b).sum() for a, b in zip(moments(mean1, cov1), moments(mean2, cov2), strict=True))
    return 1 + 3 * first / d + 3 * second / d**2 + third / d**3


def draws(which, n, seed):
    return MEANS[which] + np.random.default_rng(seed).normal(size=(n, 3)) @ ROOTS[which].T


@pytest.mark.parametrize("other", [0, 1])
def test_the_mean_of_small_sets_is_the_truth(other):
    """For equal laws 0, otherwise the MMD² of two Gaussians."""
    laws = [(MEANS[i], ROOTS[i] @ ROOTS[i].T) for i in (0, other)]
    (a, b), k = laws, expected_kernel
    truth = k(*a, *a) + k(*b, *b) - 2 * k(*a, *b)
    assert truth == 0 if other == 0 else truth > 0.3
    found = [kid(draws(0, 5, (1, i)), draws(other, 7, (2, i))) for i in range(1000)]
    assert abs(np.mean(found) - truth) < 3.5 * np.std(found) / len(found) ** 0.5


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception:UserWarning")
def test_is_that_of_torchmetrics():
    from torchmetrics.image.kid import KernelInceptionDistance

    one, other = draws(0, 40, 3), draws(1, 40, 4)
    theirs = KernelInceptionDistance(feature=torch.nn.Identity(), subsets=1, subset_size=40)
    theirs.update(torch.from_numpy(one), real=True)
    theirs.update(torch.from_numpy(other), real=False)
    assert kid(one, other) == pytest.approx(theirs.compute()[0].item(), rel=1e-10)


def test_blocks_change_nothing_and_the_order_of_the_sets_neither():
    one, other = draws(0, 2100, 5), draws(1, 1100, 6)
    k11, k22, k12 = ((a @ b.T / 3 + 1) ** 3 for a, b in ((one, one), (other, other), (one, other)))
    for k in (k11, k22):
        np.fill_diagonal(k, np.nan)
    expected = np.nanmean(k11) + np.nanmean(k22) - 2 * k12.mean()
    assert kid(one, other) == pytest.approx(expected, rel=1e-10)
    assert kid(other, one) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("which", [0, 1])
def test_subsets_are_right_on_average_and_say_how_sure(which):
    """Over all subsets the mean is the KID of all pictures, and the standard error is that of the way to it."""
    one, other = draws(which, 30, 8), draws(1 - which, 25, 9)
    whole = kid(one, other)
    found = [kid_of_subsets(one, other, size=10, subsets=12, seed=s) for s in range(50)]
    strays = np.array([(f.value - whole) / f.standard_error for f in found])
    assert abs(strays.mean()) < 0.45
    assert 0.8 < strays.std() < 1.3
    assert found[0].standard_error == pytest.approx(found[0].deviation / 12**0.5)
    assert (found[3].size, found[3].subsets, found[3].seed) == (10, 12, 3)


def test_subsets_are_a_function_of_the_seed_and_have_no_duplicates():
    one, other = draws(0, 12, 10), draws(1, 12, 11)
    assert kid_of_subsets(one, other, size=5, seed=1) == kid_of_subsets(one, other, size=5, seed=1)
    assert kid_of_subsets(one, other, size=5, seed=1).value != kid_of_subsets(one, other, size=5, seed=2).value
    whole = kid_of_subsets(one, other, size=12, subsets=3)  # only one such subset
    assert whole.value == pytest.approx(kid(one, other), rel=1e-12)
    assert whole.deviation == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 11}, "from 2 to 10, the pictures on the smaller side, not 11"),
        ({"size": 1}, "from 2 to 10"),
        ({"size": 5, "subsets": 1}, "2 or more to have a spread"),
        ({"size": 5, "seed": -1}, "a seed is a whole number"),
    ],
)
def test_bad_subsets(options, message):
    with pytest.raises(InputError, match=message):
        kid_of_subsets(draws(0, 10, 0), draws(1, 20, 0), **options)
